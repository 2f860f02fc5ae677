"""3x3 convolutions by Winograd's filtering, against torch's in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import ops
from attnzoo.kernels.cpu import launch, library
from attnzoo.kernels.cpu.dense import launch_winograd
from attnzoo.ops.dense import winograd
from tests.layers.cases import default_dtype
from tests.ops import cases
from tests.ops.cases import native_only

pytestmark = native_only

SIZES = [(1, 32, 0, 1, 1), (1, 32, 32, 2, 3), (2, 64, 32, 7, 7), (1, 96, 0, 6, 8), (3, 32, 64, 5, 11)]


def maps(size: tuple[int, int, int, int, int], out: int = 64) -> list[Tensor]:
    batch, first, second, height, width = size
    x, beside = (
        torch.randn(batch, count, height, width).contiguous(memory_format=torch.channels_last)
        for count in (first, max(second, 1))
    )
    weight = torch.randn(out, first + second, 3, 3) / (9 * (first + second)) ** 0.5
    return [x, *([beside] if second else []), weight, torch.randn(out)]


def call(tensors: list[Tensor], function: Any) -> Tensor:
    *given, weight, bias = tensors
    return function(given[0], given[1] if len(given) > 1 else None, weight, bias)


def gradients(tensors: list[Tensor], function: Any, dtype: torch.dtype) -> list[Tensor]:
    leaves = [t.detach().to(dtype).requires_grad_() for t in tensors]
    y = call(leaves, function)
    seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, seed)]


@pytest.mark.parametrize("isa", library.instruction_sets() if cases.HAS_NATIVE else [])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_error_is_at_most_twice_that_of_torch(size: Any, isa: str, monkeypatch: pytest.MonkeyPatch):
    kernels = library.Kernels(isa)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    tensors = maps(size)
    exact = gradients(tensors, winograd.reference, torch.float64)
    eager = gradients(tensors, winograd.reference, torch.float32)
    ours = gradients(tensors, winograd.winograd, torch.float32)
    for a, b, e in zip(ours, eager, exact, strict=True):
        assert a.shape == e.shape
        assert float((a - e).norm()) <= 2 * (float((b - e).norm()) + 2**-23 * float(e.norm()))


@pytest.mark.parametrize("defaults", [lambda: torch.device("meta"), lambda: default_dtype(torch.float16)])
def test_torchs_defaults_change_nothing(defaults: Any):
    tensors = maps((2, 64, 32, 7, 7))
    expected = call(tensors, winograd.winograd)
    with defaults():
        assert torch.equal(call(tensors, winograd.winograd), expected)


def test_weights_and_biases_may_lie_in_any_order():
    x, beside, weight, bias = maps((2, 64, 32, 7, 7))
    expected = winograd.winograd(x, beside, weight, bias)
    orders = (
        weight.contiguous(memory_format=torch.channels_last),
        weight.mT.contiguous().mT,
        torch.randn(128, 200, 3, 5)[::2, 3:195:2, :, 1:4].copy_(weight),
    )
    for other in orders:
        assert other.stride() != weight.stride()
        assert torch.equal(winograd.winograd(x, beside, other, torch.stack([bias, bias], 1)[:, 0]), expected)


@pytest.mark.parametrize("isa", library.instruction_sets() if cases.HAS_NATIVE else [])
def test_writes_every_output_and_nothing_else(isa: str, monkeypatch: pytest.MonkeyPatch):
    kernels = library.Kernels(isa)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    for batch, height, width in ((1, 1, 1), (1, 7, 8), (2, 9, 5)):
        x = torch.randn(batch, 32, height, width).contiguous(memory_format=torch.channels_last)
        whole = torch.full((batch * height * width * 32 + 64,), torch.nan)
        y = whole[32:-32].view(batch, height, width, 32).permute(0, 3, 1, 2)
        launch_winograd.winograd(x, None, torch.randn(32, 32, 3, 3), False, None, y)
        assert int(whole.isnan().sum()) == 64
        assert bool(y.isfinite().all())


def test_second_derivatives():
    results = []
    for function, dtype in ((winograd.winograd, torch.float32), (winograd.reference, torch.float64)):
        leaves = [t.to(dtype).requires_grad_() for t in maps_at_seed()]
        y = call(leaves, function)
        first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    for a, b in zip(*results, strict=True):
        assert float((a - b).norm()) <= 1e-5 * float(b.norm())


def maps_at_seed() -> list[Tensor]:
    torch.manual_seed(2)
    return maps((1, 32, 32, 4, 5), 32)


def test_convolve_takes_it_where_it_may_and_calls_the_module_elsewhere(monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []
    real = launch_winograd.winograd
    monkeypatch.setattr(launch_winograd, "winograd", lambda *tensors: (seen.append(tensors), real(*tensors)))
    x = torch.randn(1, 32, 40, 40).contiguous(memory_format=torch.channels_last)
    plain = nn.Conv2d(32, 32, 3, padding=1)
    torch.testing.assert_close(ops.convolve(plain, x), plain(x), rtol=1e-4, atol=1e-5)
    assert len(seen) == 1
    others = [
        (nn.Conv2d(32, 32, 3, padding=1, stride=2), x),
        (nn.Conv2d(32, 32, 3, padding=1, groups=2), x),
        (nn.Conv2d(32, 32, 3), x),
        (nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect"), x),
        (nn.Conv2d(32, 32, 1), x),
        (nn.Conv2d(32, 48, 3, padding=1), x),
        (plain, x.contiguous()),
        (plain, x[..., :8, :]),
        (nn.Conv2d(32, 32, 3, padding=1).double(), x.double()),
    ]
    for conv, given in others:
        assert torch.equal(ops.convolve(conv, given), conv(given))
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.convolve(plain, x).dtype == torch.bfloat16
    with ops.backend("torch"):
        assert torch.equal(ops.convolve(plain, x), plain(x))
    plain.register_forward_hook(lambda *_: None)
    assert torch.equal(ops.convolve(plain, x), F.conv2d(x, plain.weight, plain.bias, padding=1))
    assert len(seen) == 1


def test_the_number_of_threads_changes_no_bit():
    tensors = maps((2, 64, 0, 31, 33))
    once = call(tensors, winograd.winograd)
    torch.set_num_threads(2)
    try:
        again = call(tensors, winograd.winograd)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(once, again)
