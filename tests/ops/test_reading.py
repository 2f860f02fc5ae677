"""Modules are read by C++ as by Python: the same record of the same tensors, or nothing where anything is unusual."""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from attnzoo import ops
from attnzoo.ops import reading
from attnzoo.ops.reading import Row, call, contents, left_out, may_replace_calls, read, read_in_python, table
from tests.ops.unusual import LOOKED, Marked, Subclass, every_hook, put

TABLE = table(
    {
        "": Row((nn.Sequential,), required={"training": False}),
        "conv": Row((nn.Conv2d,), ("weight", "bias"), numbers=("groups",), required={"stride": (1, 1)}),
        "norm": Row((nn.BatchNorm2d, nn.SyncBatchNorm), ("weight",), ("running_mean", "num_batches_tracked"), ("eps",)),
        "inner": Row((nn.Sequential,)),
        "inner.act": Row((nn.ReLU,)),
    }
)
CALLED = table({"": Row(parameters=("weight",))})


@pytest.fixture(autouse=True, params=["C++", "Python"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.setattr(reading, "_reader", None)
    elif reading._reader is None:
        pytest.skip("the reader in C++ is not there")


def made() -> nn.Sequential:
    layer = nn.Sequential()
    layer.conv, layer.norm, layer.inner = nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6), nn.Sequential()
    layer.inner.act = nn.ReLU()
    return layer.eval()


def fields(record: bytes, count: int) -> list[dict[str, Any]]:
    """Return what a record says of its tensors."""
    found = []
    for data, dtype, rank, numel, wants, *axes in struct.iter_unpack("=13q", record[: 104 * count]):
        found.append(
            {"data": data, "dtype": dtype, "sizes": axes[:rank], "strides": axes[4 : 4 + rank], "count": numel}
            | {"requires_grad": bool(wants), "rest": [*axes[rank:4], *axes[4 + rank :]]}
        )
    return found


@pytest.mark.parametrize("gradients", [False, True])
def test_a_record_says_where_all_tensors_are_and_what(gradients: bool):
    layer, x = made(), torch.randn(3, 4, 5, 7).to(memory_format=torch.channels_last)
    with torch.set_grad_enabled(gradients):
        found = read(((layer, TABLE), (layer.inner.act, left_out(nn.ReLU, nn.GELU))), (x, None))
    assert found is not None
    record, tensors = found
    expected = (x, None, layer.conv.weight, None, layer.norm.weight, layer.norm.running_mean)
    expected += (layer.norm.num_batches_tracked,)
    assert all(a is b for a, b in zip(tensors, expected, strict=True))
    dtypes = {torch.float32: 0, torch.int64: 3}
    for field, tensor in zip(fields(record, 7), expected, strict=True):
        if tensor is None:
            assert field["dtype"] == -1
            assert not any(field[name] for name in ("data", "count", "requires_grad", "sizes", "strides"))
            continue
        assert field["data"] == tensor.data_ptr()
        assert field["dtype"] == dtypes[tensor.dtype]
        assert (field["sizes"], field["strides"]) == (list(tensor.shape), list(tensor.stride()))
        assert field["count"] == tensor.numel()
        assert field["requires_grad"] == (gradients and tensor.requires_grad)
        assert not any(field["rest"])
    assert struct.unpack("=2d", record[7 * 104 :]) == (2.0, layer.norm.eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_tensors_that_kernels_know(dtype: torch.dtype):
    whole = torch.zeros(4, 6, dtype=dtype)
    for x in (whole, whole[1:, ::2], whole.t(), whole[:0], whole[0, 0], nn.Parameter(whole, requires_grad=False)):
        found = read((), (x,))
        assert found == read_in_python((), (x,))
        assert found is not None
        (field,) = fields(found[0], 1)
        assert field["data"] == x.data_ptr()
        assert field["count"] == x.numel()


UNKNOWN: dict[str, Callable[[], Any]] = {
    "a subclass": lambda: torch.ones(3).as_subclass(Marked),
    "float64": lambda: torch.ones(3).double(),
    "booleans": lambda: torch.ones(3) > 0,
    "complex numbers": lambda: torch.ones(3).cfloat(),
    "the negative bit": lambda: torch.ones(3, dtype=torch.cfloat).conj().imag,
    "sparse": lambda: torch.ones(3, 3).to_sparse(),
    "oneDNN's": lambda: torch.ones(3, 3).to_mkldnn(),
    "meta": lambda: torch.ones(3, device="meta"),
    "no memory": lambda: torch._efficientzerotensor((3,)),
    "five axes": lambda: torch.ones(1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_tensors_that_they_do_not_know_are_not_read(what: str):
    assert read((), (UNKNOWN[what](),)) is None
    layer = made()
    layer.norm.running_mean = UNKNOWN[what]()
    assert read(((layer, TABLE),), ()) is None


UNUSUAL: dict[str, Callable[[nn.Sequential], object]] = {
    "it trains": lambda layer: layer.train(),
    "another kind": put("conv", nn.Conv1d(4, 6, 3)),
    "a subclass": put("conv", Subclass(4, 6, 3)),
    "no module": put("inner.act", None),
    "one module less": lambda layer: layer.__delattr__("norm"),
    "another option": put("conv.stride", (2, 2)),
    "no option": lambda layer: layer.conv.__delattr__("stride"),
    "no number": put("conv.groups", "two"),
    "one parameter less": lambda layer: layer.conv.__delattr__("bias"),
    "a parametrised weight": lambda layer: parametrizations.weight_norm(layer.conv),
    "pruned": lambda layer: prune.identity(layer.conv, "weight"),
    "a forward of its own": put("inner.act.forward", lambda x: x),
    "a convolution's method replaced": put("conv._conv_forward", lambda x, weight, bias: x),
    "on another device": lambda layer: layer.norm.to("meta"),
    "of another dtype": lambda layer: layer.norm.double(),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_nothing_is_read_of_unusual_modules_and_it_is_said_why(what: str):
    layer = made()
    assert read(((layer, TABLE),), ()) is not None
    UNUSUAL[what](layer)
    assert read(((layer, TABLE),), ()) is None
    reason = contents(((layer, TABLE),))
    assert isinstance(reason, str) == (what not in {"on another device", "of another dtype"})


def test_hooks_of_every_kind_are_seen():
    layer = made()
    for register in every_hook(layer.modules()):
        handle = register()
        assert read(((layer, TABLE),), ()) is None
        handle.remove()
        assert read(((layer, TABLE),), ()) is not None


@pytest.mark.parametrize("who", [who for who in LOOKED if who != "a recorder"])  # kernels say what the gates were
def test_whoever_looks_is_seen(who: str):
    layer = made()
    with LOOKED[who]():
        assert read(((layer, TABLE),), ()) is None
    with ops.backend("native") if ops.backends()["native"].available else ops.backend("auto"):
        assert read(((layer, TABLE),), ()) is not None


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:FutureWarning")
def test_transforms_and_traces_are_seen():
    layer, said = made(), []

    def asked(x: Tensor) -> Tensor:
        said.append(read(((layer, TABLE),), ()))
        return x

    torch.func.vmap(asked)(torch.ones(2, 2))
    torch.jit.trace(asked, torch.ones(2), check_trace=False)
    torch.func.jvp(asked, (torch.ones(2),), (torch.ones(2),))
    assert said == [None] * 3


def test_a_layer_that_reads_itself_has_been_called():
    layer = Subclass(4, 6, 1)
    layer.register_forward_hook(lambda *_: None)
    layer.forward = layer.forward
    found = read(((layer, CALLED),), ())
    assert found is not None
    assert found[1][0] is layer.weight


def test_what_is_read_is_held_and_nothing_else():
    layer = made()
    held = [*layer.parameters(), *layer.buffers(), *layer.modules(), *(m.__dict__ for m in layer.modules())]
    for change in (lambda layer: None, UNUSUAL["of another dtype"]):
        change(layer)
        before = [sys.getrefcount(each) for each in held]
        for _ in range(100):
            read(((layer, TABLE),), ())
        assert all(abs(sys.getrefcount(each) - count) < 50 for each, count in zip(held, before, strict=True))
    layer = made()
    found, weight = read(((layer, TABLE),), ()), layer.conv.weight
    before = sys.getrefcount(weight)
    del found
    assert sys.getrefcount(weight) == before - 1


def test_eight_threads_at_once():
    layer, wrong, barrier = made(), [], threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            found = read(((layer, TABLE),), ())
            if found is None or found[1][0] is not layer.conv.weight:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_table_names_modules_after_those_that_hold_them():
    for rows in ({"conv": Row()}, {"": Row(), "inner.act": Row()}, {"": Row(), "a.b": Row(), "a": Row()}):
        with pytest.raises(ValueError, match="rows must name a module after the one that holds it, got"):
            table(rows)


def test_it_is_seen_who_waits_for_modules():
    layer = made()
    modules = [*layer.modules()]
    assert may_replace_calls()
    assert may_replace_calls(*modules)
    for register in every_hook(modules):
        handle = register()
        assert not may_replace_calls(*modules)
        handle.remove()
        assert may_replace_calls(*modules)
    layer.inner.act.forward = lambda x: x
    assert not may_replace_calls(*modules)
    assert may_replace_calls(layer.conv)


def test_wrong_arguments_raise():
    if reading._reader is not None:
        for arguments in ((), ((),), ([], ()), ((), [])):
            with pytest.raises(TypeError, match="read takes two tuples"):
                reading._reader.read(*arguments)
        for part in (3, (made(),), (made(), 3), (made(), (3,)), (made(), ((0, "a"),)), (3, TABLE)):
            assert reading._reader.read((part,), ()) is None
        x, good = torch.ones(2), (1, b"", (), (torch.ones(2),), False)
        for arguments in ((), good[:4], (0, *good[1:]), ("1", *good[1:]), (1, "", *good[2:]), (*good[:3], (), False)):
            with pytest.raises(TypeError, match="call takes kernel, options, parts, tensors"):
                reading._reader.call(*arguments)
        assert reading._reader.call(1, b"", ((made(),),), (x,), False) is None


class Seen(NamedTuple):
    """What a kernel was called with."""

    fields: list[dict[str, Any]]
    numbers: tuple[float, ...]
    options: bytes
    threads: int
    state: int | None
    training: int
    y: int


@pytest.fixture
def kernel() -> tuple[int, list[Seen], list[int]]:
    """Return where a kernel of Python's is, what it will have seen, and the status that it returns."""
    seen: list[Seen] = []
    status = [0]

    def call(record: int, count: int, options: int, threads: int, y: int, state: int | None, training: int) -> int:
        text = ctypes.string_at(record, 104 * count + 16)
        numbers = struct.unpack("=2d", text[104 * count :])
        seen.append(Seen(fields(text, count), numbers, ctypes.string_at(options, 3), threads, state, training, y))
        return status[0]

    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    made = ctypes.CFUNCTYPE(ctypes.c_int, pointer, integer, pointer, integer, pointer, pointer, integer)(call)
    seen_by = ctypes.cast(made, pointer).value
    assert seen_by is not None
    status.append(made)  # type: ignore[arg-type] # it lives as long
    return seen_by, seen, status


@pytest.mark.parametrize("in_place", [False, True])
def test_a_kernel_is_called_with_what_is_read(kernel: tuple[int, list[Seen], list[int]], in_place: bool):
    where, seen, _ = kernel
    layer, x = made(), torch.randn(3, 4, 5, 7).to(memory_format=torch.channels_last)
    with torch.no_grad():
        record, held = read(((layer, TABLE),), (x, None))
        y = call(where, b"abc", ((layer, TABLE),), (x, None), in_place)
    if reading._reader is None:
        assert y[0] == record
        return
    (told,) = seen
    assert told.fields == fields(record, len(held))
    assert told.numbers == struct.unpack("=2d", record[104 * len(held) :])
    assert told[2:6] == (b"abc", torch.get_num_threads(), None, 0)
    assert (y is x) == in_place
    assert (y.shape, y.stride(), y.data_ptr()) == (x.shape, x.stride(), told.y)


def test_a_kernel_is_not_called_where_gradients_are_wanted_or_it_refuses(
    kernel: tuple[int, list[Seen], list[int]],
):
    where, seen, status = kernel
    layer, x = made(), torch.randn(3, 4, 5, 7)
    found = call(where, b"abc", ((layer, TABLE),), (x, None), False)
    assert not seen
    assert found is not None
    assert found[0] == read(((layer, TABLE),), (x, None))[0]
    with torch.no_grad():
        status[0] = 4
        refused = call(where, b"abc", ((layer, TABLE),), (x, None), False)
        assert (refused is None) == (reading._reader is not None)
        if reading._reader is not None:  # what it has half written must not be taken for its input
            status[0] = 2
            with pytest.raises(RuntimeError, match="a kernel failed with status 2"):
                call(where, b"abc", ((layer, TABLE),), (x, None), True)
            assert len(seen) == 2
            seen.pop()
        layer.conv.register_forward_hook(lambda *_: None)
        assert call(where, b"abc", ((layer, TABLE),), (x, None), False) is None
    assert len(seen) == (reading._reader is not None)
