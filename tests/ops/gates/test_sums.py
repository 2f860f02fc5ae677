"""Sums over large maps, whose roundings would add up: against torch in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from attnzoo import CBAM, ops
from attnzoo.kernels.cpu import launch, library
from tests.ops.cases import HAS_NATIVE, native_only

SETS = library.instruction_sets() if HAS_NATIVE else []
BACKENDS = ["torch", pytest.param("native", marks=native_only)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LARGE = 2048
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


def filled(kind: str, *shape: int) -> Tensor:
    """Return numbers that are all the same, whose sums round the same way every time, or random ones."""
    if kind == "constant":
        return torch.full(shape, 0.1)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["constant", "random"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_means_of_large_maps(backend: str, kind: str, dtype: torch.dtype, memory_format: torch.memory_format):
    for channels in (1, 5):
        x = filled(kind, 1, channels, LARGE, LARGE).to(dtype).contiguous(memory_format=memory_format)
        with ops.backend(backend):
            pooled, _ = ops.global_pool(x)
        exact = x.double().mean((2, 3))
        assert float(((pooled[0] - exact) / exact).abs().max()) < 1e-6
        torch.testing.assert_close(pooled[1], x.float().amax((2, 3)), rtol=0, atol=0)


@native_only
@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("isa", SETS)
def test_every_instruction_set_and_number_of_threads(
    isa: str, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
):
    kernels = library.Kernels(isa)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    for channels, size in ((20, 300), (3, 301), (70, 33)):
        x = filled("constant", 1, channels, size, size).contiguous(memory_format=memory_format)
        made = []
        for threads in (1, 2, 5):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            made.append(ops.global_pool(x, backend="native").values)
        exact = x.double().mean((2, 3))
        assert float(((made[0][0] - exact) / exact).abs().max()) < 1e-6
        assert all(torch.equal(each, made[0]) for each in made)


@native_only
@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
def test_mean_of_two_to_the_31_elements(memory_format: torch.memory_format):
    """Untouched zeros take no memory; the last pixels are beyond what 32 bits count."""
    channels = 1 if memory_format is torch.contiguous_format else 2
    x = torch.zeros(1, 2**16 // channels, 2**15, channels, dtype=torch.bfloat16).permute(0, 3, 1, 2)
    x[:, :, -1, -1] = 2.0**20
    pooled, _ = ops.global_pool(x, backend="native")
    assert pooled[0].tolist() == [[2.0**20 * channels / 2**31] * channels]
    assert pooled[1].tolist() == [[2.0**20] * channels]


@native_only
@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("shape", [(1, 3, 1024, 1024), (1, 2048, 16, 16)], ids=str)
@pytest.mark.parametrize("kind", ["constant", "random"])
def test_other_sums_over_large_maps(kind: str, shape: tuple[int, ...], memory_format: torch.memory_format):
    """Averages over channels, and the gradients of gates: sums over all pixels or all channels."""

    def found(backend: str, dtype: torch.dtype) -> list[Tensor]:
        x, channel, spatial = (t.to(dtype).requires_grad_() for t in (given, gate, plane))
        with ops.backend(backend):
            planes, x = ops.squeeze_channels(x, channel)
            y = ops.apply_gates(x, (channel, spatial))
        gradients = torch.autograd.grad([planes, y], [channel, spatial], [torch.full_like(t, 0.3) for t in (planes, y)])
        return [planes.detach(), y.detach(), *gradients]

    given = filled(kind, *shape).contiguous(memory_format=memory_format)
    gate, plane = filled(kind, *shape[:2], 1, 1), filled(kind, 1, 1, *shape[2:])
    for got, exact in zip(found("native", torch.float32), found("torch", torch.float64), strict=True):
        assert float((got - exact).abs().max() / exact.abs().max()) < 5e-6


@native_only
def test_statistics_of_a_norm_over_large_maps():
    """Those of CBAM's norm: of a constant map all roundings go the same way."""
    x = filled("constant", 2, 3, 1024, 1024)
    made: list[list[Tensor]] = []
    for backend, dtype in (("native", torch.float32), ("torch", torch.float64)):
        torch.manual_seed(0)
        layer = CBAM(3, norm_layer=partial(nn.BatchNorm2d, momentum=1.0)).to(dtype)
        with ops.backend(backend):
            layer(x.to(dtype))
        statistics = dict(layer.named_buffers())
        made.append([statistics[f"spatial.norm.running_{name}"] for name in ("mean", "var")])
    (mean, variance), (exact_mean, exact_variance) = made
    assert abs(float(mean - exact_mean)) < 1e-6 * abs(float(exact_mean))
    assert abs(float(variance - exact_variance)) < 1e-6 * float(exact_mean**2 + exact_variance)
