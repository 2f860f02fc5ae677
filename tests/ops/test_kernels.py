"""The kernels themselves, in every instruction set that this machine runs: each output is written, and only it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnzoo import ops
from attnzoo.kernels.cpu import launch, library
from attnzoo.kernels.cpu.gates import launch_llam, launch_rows
from tests.ops import cases
from tests.ops.cases import OPERATIONS, native_only

pytestmark = native_only

SETS = library.instruction_sets() if cases.HAS_NATIVE else []


@pytest.fixture(params=SETS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute by the kernels of one instruction set."""
    kernels = library.Kernels(request.param)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    return request.param


@pytest.mark.parametrize("name", OPERATIONS)
def test_instruction_sets_agree(name: str, isa: str, monkeypatch: pytest.MonkeyPatch):
    for last in (False, True):
        for dtype, rounding in ((torch.float32, 1e-5), (torch.bfloat16, 2**-7), (torch.float16, 2**-10)):
            tensors = cases.inputs((2, 21, 9, 11), dtype, last)
            got = cases.values_and_gradients(OPERATIONS[name], tensors, "native")
            exact = cases.values_and_gradients(OPERATIONS[name], tensors, "torch", torch.float64)
            for a, b in zip(got, exact, strict=True):
                assert float((a.double() - b).norm()) <= rounding * (float(b.norm()) + 0.1)


class Guarded:
    """Tensors filled with NaN, with NaN beyond their ends that must stay."""

    def __init__(self) -> None:
        self.made: list[tuple[Tensor, Tensor]] = []

    def __call__(self, *shape: int, dtype: torch.dtype = torch.float32, like: Tensor | None = None) -> Tensor:
        size = torch.Size(shape).numel() if like is None else like.numel()
        whole = torch.full((size + 64,), torch.nan, dtype=dtype if like is None else like.dtype)
        inner = whole[32 : size + 32]
        inner = inner.view(shape) if like is None else inner.as_strided(like.shape, like.stride(), 32)
        self.made.append((whole, inner))
        return inner

    def check(self) -> None:
        for whole, inner in self.made:
            assert not bool(inner.isnan().any())
            assert int(whole.isnan().sum()) == 64


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", launch.DTYPES, ids=str)
def test_every_output_is_written_and_nothing_else(dtype: torch.dtype, last: bool, isa: str):
    for shape in cases.shapes():
        batch, channels, height, width = shape
        x, channel, spatial, _ = cases.inputs(shape, dtype, last)
        channel = channel.flatten(1)
        dy, carried = x.flip(0).sub(1), x.flip(1).add(1)
        dy, carried = (torch.empty_like(x).copy_(t) for t in (dy, carried))
        out = Guarded()
        pooled, ties = out(2, batch, channels), out(batch, channels)
        launch.global_pool(x, pooled, ties)
        launch.global_pool(x, out(1, batch, channels), None)
        launch.global_pool_backward(x, carried, torch.randn(2, batch, channels), pooled, ties, out(like=x))
        launch.global_pool_backward(x, None, torch.randn(1, batch, channels), pooled, None, out(like=x))
        planes, counts = out(batch, 2, height, width), out(batch, height, width)
        launch.squeeze_channels(x, channel, planes, counts)
        launch.squeeze_channels(x, channel, out(batch, 2, height, width), None)
        gradients = torch.randn(batch, 2, height, width), out(like=x), out(batch, channels)
        launch.squeeze_channels_backward(x, carried, channel, planes, counts, *gradients)
        for given in (spatial, None):
            for shortcut, relu in ((None, False), (None, True), (dy, False), (dy, True)):
                y = out(like=x)
                launch.apply_gates(x, channel, given, torch.tensor(0.5), False, shortcut, relu, y)
                masked = (y, relu) if shortcut is not None and relu else (None, relu)
                pixels = None if given is None else out(batch, 1, height, width)
                sums = out(like=x), out(batch, channels), pixels, None if masked[0] is None else out(like=x)
                launch.apply_gates_backward(carried, x, channel, given, torch.tensor(0.5), False, *masked, *sums)
        logits, y = out(like=x), out(like=x)
        half = torch.tensor(0.5)
        launch_llam.llam_gate(x, dy, carried, half, carried, True, y, logits)
        launch_llam.llam_gate(x, dy, None, None, None, False, out(like=x), None)
        launch_llam.llam_gate_backward(dy, x, logits, half, y, out(like=x), out(like=x), out(like=x), out(1))
        launch_llam.llam_gate_backward(dy, x, logits, None, None, out(like=x), out(like=x), None, None)
        keep = torch.rand(3, batch, height) < 0.5
        launch_rows.split_rows(x, keep, [out(like=x) for _ in keep])
        launch_rows.split_rows_backward([dy, carried, x], keep, out(like=x))
        out.check()


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_convolution_writes_every_output_and_nothing_else(size: int, isa: str):
    for batch, height, width in ((1, 1, 1), (2, 16, 8), (1, 17, 9), (3, 15, 7), (2, 33, 31)):
        planes, weight = torch.randn(batch, 2, height, width), torch.randn(1, 2, size, size)
        out = Guarded()
        launch.spatial_conv(planes, weight, torch.tensor([0.5]), out(batch, 1, height, width))
        d_out = torch.randn(batch, 1, height, width)
        launch.spatial_conv_backward(planes, weight, d_out, out(batch, 2, height, width), out(1, 2, size, size))
        out.check()


def test_half_precision_rounds_to_nearest_even(isa: str):
    values = torch.randn(4099) * torch.logspace(-30, 30, 4099)
    ties = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3.3895e38, torch.inf, torch.nan])
    for dtype in (torch.bfloat16, torch.float16):
        for gate in (values, ties):
            ones = torch.ones(1, len(gate), 1, 1, dtype=dtype)
            expected = gate.to(dtype)
            y = torch.empty_like(ones)
            launch.apply_gates(ones, gate[None].contiguous(), None, None, False, None, False, y)
            torch.testing.assert_close(y.flatten(), expected, rtol=0, atol=0, equal_nan=True)


def test_environment_names_the_instruction_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATTNZOO_ISA", "baseline")
    assert library.kernels.__wrapped__().isa == "baseline"
    monkeypatch.setenv("ATTNZOO_ISA", "mmx")
    with pytest.raises(ValueError, match=r"ATTNZOO_ISA must be one of .*baseline.*'mmx'"):
        library.kernels.__wrapped__()


def test_baseline_is_always_there():
    assert SETS[-1] == "baseline"
    assert ops.backends()["native"].detail.startswith(library.kernels().isa)
