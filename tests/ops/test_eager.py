"""The ways past Python to the kernels of a whole gate: the same to the bit, and not taken wherever somebody looks."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from attnzoo import CBAM, SqueezeExcite, ops
from attnzoo.layers import cbam, squeeze_excite
from attnzoo.ops import eager
from attnzoo.ops.noting import listening
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import native_only
from tests.ops.test_gate_images import LAYERS

pytestmark = [
    native_only,
    pytest.mark.skipif(eager.missing() is not None, reason=str(eager.missing())),
]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(autouse=True)
def _prepared() -> None:
    """Have the kernel found: the first call goes through Python."""
    with torch.no_grad():
        SqueezeExcite(4, rd_channels=2).eval()(torch.ones(2, 4, 2, 2))


def gated(layer: nn.Module, x: Tensor) -> Tensor | None:
    """Return what the way says of a layer's map."""
    if isinstance(layer, SqueezeExcite):
        return eager.gated(x, layer, None, layer.channels, layer.residual, False)
    return eager.gated(x, layer.channel, layer.spatial, layer.channels, layer.residual, True)


@contextmanager
def python_alone() -> Iterator[None]:
    """Leave everything to Python."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (cbam, squeeze_excite):
            patch.setattr(module, "gated", lambda *_: None)
        patch.setattr(eager, "gradients", lambda *_: None)
        yield


def in_python(layer: nn.Module, x: Tensor) -> Tensor:
    """Return what Python computes by the same kernels."""
    with python_alone():
        return layer(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_same_to_the_bit(name: str, dtype: torch.dtype):
    for shape in ((2, 21, 9, 11), (3, 64, 7, 7), (6, 5, 1, 1), (5, 17, 31, 3)):
        layer = randomise(LAYERS[name](shape[1], rd_channels=max(2, shape[1] // 4))).to(dtype).eval()
        for last in (False, True):
            x = cases.inputs(shape, dtype, last)[0]
            for mode in (torch.no_grad(), torch.inference_mode()):
                with mode:
                    y = gated(layer, x)
                    assert y is not None
                    assert y.is_inference() == torch.is_inference_mode_enabled()
                    assert torch.equal(layer(x), y)
                assert torch.equal(y, in_python(layer, x))
                assert y.stride() == x.stride()


@pytest.mark.parametrize("batch", [1, 2])
def test_parts_of_maps_and_parameters_as_maps_are_taken(batch: int):
    layer = randomise(CBAM(12)).eval()
    whole = torch.randn(6, 12, 5, 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(batch)
    try:
        with torch.no_grad():
            for x in (whole[batch : 2 * batch], nn.Parameter(whole[:batch]), whole[:batch].detach().requires_grad_()):
                y = gated(layer, x)
                assert y is not None
                assert torch.equal(y, in_python(layer, x.detach()))
                assert not y.requires_grad
            assert gated(layer, whole[: batch - 1]) is None  # fewer images than threads
    finally:
        torch.set_num_threads(threads)


@contextmanager
def told_gates() -> Iterator[None]:
    with listening(lambda *_: None):
        yield


LOOKED: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "a counter": lambda: FlopCounterMode(display=False),
    "forward-mode AD": forward_ad.dual_level,
    "a recorder": told_gates,
    "another backend": lambda: ops.backend("torch"),
}


@pytest.mark.parametrize("who", LOOKED)
def test_it_is_not_taken_where_somebody_looks(who: str):
    layer, x = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6)
    with torch.no_grad():
        assert gated(layer, x) is not None
        with LOOKED[who]():
            assert gated(layer, x) is None
        assert gated(layer, x) is not None
        with ops.backend("native"):
            assert gated(layer, x) is not None


def test_it_is_not_taken_in_transforms_and_traces():
    layer, x, said = randomise(SqueezeExcite(12)).eval(), torch.randn(2, 2, 12, 5, 6), []

    def asked(image: Tensor) -> Tensor:
        said.append(gated(layer, image))
        return image

    with torch.no_grad():
        torch.func.vmap(asked)(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it is deprecated, and used
            torch.jit.trace(asked, x[0], check_trace=False)
    assert said == [None, None]


def every_hook(modules: Iterable[nn.Module]) -> Iterator[Callable[[], RemovableHandle]]:
    """Yield what registers a hook, of every kind, on each module and on all that there are."""
    for kind in ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"):
        for module in modules:
            yield partial(getattr(module, f"register_{kind}"), lambda *_: None)
        yield partial(getattr(nn.modules.module, f"register_module_{kind}"), lambda *_: None)


@pytest.mark.parametrize("name", ["cbam", "se"])
def test_hooks_of_every_kind_on_every_module_are_seen(name: str):
    layer, x = randomise(LAYERS[name](12)).eval(), torch.randn(2, 12, 5, 6)
    inside = [module for module in layer.modules() if name == "se" or module is not layer]
    assert len(inside) == (5 if name == "se" else 7)
    with torch.no_grad():
        for register in every_hook(inside):
            handle = register()
            assert gated(layer, x) is None
            handle.remove()
            assert gated(layer, x) is not None


def _cbam(change: Callable[[CBAM], object]) -> CBAM:
    layer = randomise(CBAM(12, rd_channels=3)).eval()
    change(layer)
    return layer


def _put(path: str, value: object) -> Callable[[CBAM], object]:
    def change(layer: CBAM) -> None:
        parent, _, name = path.rpartition(".")
        setattr(layer.get_submodule(parent), name, value)

    return change


CHANGED: dict[str, Callable[[CBAM], object]] = {
    "the norm trains by a plain average": lambda layer: layer.spatial.norm.train().__setattr__("momentum", None),
    "the norm trains and follows nothing": lambda layer: layer.spatial.norm.train().__setattr__(
        "track_running_stats", False
    ),
    "the norm counts in float": lambda layer: layer.spatial.norm.train().__setattr__(
        "num_batches_tracked", torch.zeros(())
    ),
    "the norm has no statistics": _put("spatial.norm", nn.BatchNorm2d(1, track_running_stats=False).eval()),
    "another norm": _put("spatial.norm", nn.InstanceNorm2d(1)),
    "a wider norm": _put("spatial.norm", nn.BatchNorm2d(2).eval()),
    "another activation": _put("channel.act", nn.GELU()),
    "another kind of layer": _put("channel.fc1", nn.Linear(12, 3)),
    "too few channels in": _put("channel.fc1", nn.Conv2d(8, 3, 1)),
    "too few channels out": _put("channel.fc2", nn.Conv2d(3, 8, 1)),
    "widths that differ": _put("channel.fc2", nn.Conv2d(2, 12, 1)),
    "a larger kernel in the bottleneck": _put("channel.fc1", nn.Conv2d(12, 3, 3, padding=1)),
    "too large a kernel": _put("spatial.conv", nn.Conv2d(2, 1, 9, padding=4)),
    "a kernel that is not square": _put("spatial.conv", nn.Conv2d(2, 1, (3, 5), padding=(1, 2))),
    "more planes": _put("spatial.conv", nn.Conv2d(3, 1, 3, padding=1)),
    "one more module": lambda layer: layer.channel.add_module("more", nn.Identity()),
    "one module less": lambda layer: layer.spatial.__delattr__("norm"),
    "one weight of another dtype": lambda layer: layer.channel.fc2.double(),
    "one bias of another dtype": _put("channel.fc2.bias", nn.Parameter(torch.zeros(12).bfloat16())),
    "a bias that is too short": _put("channel.fc2.bias", nn.Parameter(torch.zeros(11))),
    "a weight that is not dense": _put("channel.fc2.weight", nn.Parameter(torch.randn(3, 12, 1, 1).transpose(0, 1))),
    "a weight elsewhere": lambda layer: layer.channel.fc2.to("meta"),
    "a parametrised weight": lambda layer: parametrizations.weight_norm(layer.channel.fc1),
    "pruned": lambda layer: prune.identity(layer.channel.fc1, "weight"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_it_is_not_taken_if_a_module_is_out_of_the_ordinary(what: str):
    x = torch.randn(2, 12, 5, 6)
    with torch.no_grad():
        assert gated(_cbam(lambda _: None), x) is not None
        assert gated(_cbam(CHANGED[what]), x) is None


class Marked(Tensor):
    """A tensor of somebody else's."""


MAPS: dict[str, Callable[[Tensor], object]] = {
    "no tensor": lambda x: x.numpy(),
    "a subclass": lambda x: x.as_subclass(Marked),
    "float64": lambda x: x.double(),
    "another dtype": lambda x: x.bfloat16(),
    "integers": lambda x: x.long(),
    "gaps": lambda x: torch.randn(2, 12, 5, 12)[..., ::2],
    "transposed": lambda x: x.transpose(2, 3),
    "one image": lambda x: x[0],
    "too many axes": lambda x: x[None],
    "other channels": lambda x: x[:, :11].contiguous(),
    "no image": lambda x: x[:0],
    "no pixel": lambda x: x[..., :0],
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "zeros without memory": lambda x: torch._efficientzerotensor(x.shape),
    "oneDNN's": lambda x: x.to_mkldnn(),
}


@pytest.mark.parametrize("what", MAPS)
def test_it_is_not_taken_if_the_map_is_out_of_the_ordinary(what: str):
    layer = _cbam(lambda _: None)
    with torch.no_grad():
        assert gated(layer, MAPS[what](torch.randn(2, 12, 5, 6))) is None


def test_nothing_is_kept_from_call_to_call():
    layer, x = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6)
    with torch.no_grad():
        before = layer(x)
        layer.channel.fc1.weight.mul_(2)
        layer.spatial.norm.running_mean.add_(1)
        layer.spatial.conv = randomise(nn.Conv2d(2, 1, 3, padding=1, bias=False))
        layer.channel.fc2.weight = nn.Parameter(torch.randn_like(layer.channel.fc2.weight))
        y = gated(layer, x)
        assert y is not None
        assert not torch.allclose(y, before)
        assert torch.equal(y, in_python(layer, x))


def test_it_holds_on_to_nothing_and_loses_nothing():
    layer, x = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6)
    held = [x, *layer.parameters(), *layer.buffers(), *layer.modules(), *(m.__dict__ for m in layer.modules())]
    held += [layer.channel.__dict__["_modules"], None, False, "native"]

    def counts() -> list[int]:
        return [sys.getrefcount(each) for each in held]

    def learned() -> None:
        layer(x).sum().backward()
        layer.zero_grad()

    # where it is taken, without gradients and with them, and where it gives up
    for mode, call in (
        (torch.no_grad(), lambda: gated(layer, x)),
        (torch.enable_grad(), learned),
        (ops.backend("torch"), lambda: gated(layer, x)),
    ):
        with mode:
            call()
            before = counts()
            for _ in range(100):
                call()
            after = counts()
        assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


def test_threads_may_replace_weights_meanwhile():
    layer, x, stop = randomise(CBAM(64)).eval(), torch.randn(4, 64, 14, 14), threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for gate in (layer.channel.fc1, layer.channel.fc2, layer.spatial.conv):
                gate.weight = nn.Parameter(gate.weight.detach().clone())

    with torch.no_grad():
        expected = in_python(layer, x)
        other = threading.Thread(target=replace)
        other.start()
        try:
            assert all(torch.equal(layer(x), expected) for _ in range(300))
        finally:
            stop.set()
            other.join()


def test_wrong_arguments_are_an_error_or_left_to_python():
    layer, x = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6)
    with torch.no_grad():
        with pytest.raises(TypeError, match="takes 6 arguments, got 1"):
            eager.gated(x)
        for wrong in ("12", None, 1 << 70):
            assert eager.gated(x, layer.channel, layer.spatial, wrong, 0.0, True) is None
        for wrong in (object(), 3, {}, nn.Identity()):
            assert eager.gated(x, wrong, None, 12, 0.0, True) is None
            assert eager.gated(x, None, wrong, 12, 0.0, True) is None
        assert eager.gated(x, None, None, 12, 0.0, True) is None


def test_without_it_python_computes():
    code = """
import sys, torch
sys.modules["attnzoo.ops.eager_calls"] = None
from attnzoo import CBAM, ops
from attnzoo.ops import eager
assert ops.backends()["native"].detail.endswith(", called through Python alone: eager_calls was not built")
layer, x = CBAM(12).eval(), torch.randn(2, 12, 5, 6)
with torch.no_grad():
    y = layer(x)
    with ops.backend("torch"):
        torch.testing.assert_close(layer(x), y)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
