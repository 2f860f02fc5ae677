"""Sums over large maps, whose roundings would add up: against torch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnzoo import ops
from attnzoo.kernels.cpu import launch, library
from tests.ops.cases import HAS_NATIVE, native_only

SETS = library.instruction_sets() if HAS_NATIVE else []
BACKENDS = ["torch", pytest.param("native", marks=native_only)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LARGE = 2048
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


def a_map(kind: str, channels: int, size: int, dtype: torch.dtype, memory_format: torch.memory_format) -> Tensor:
    """Return a map (1, channels, size, size): all the same, which rounds the same way every time, or random."""
    shape = (1, channels, size, size)
    values = (
        torch.rand(shape, generator=torch.Generator().manual_seed(0)) if kind == "random" else torch.full(shape, 0.1)
    )
    return values.to(dtype).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["constant", "random"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_means_of_large_maps(backend: str, kind: str, dtype: torch.dtype, memory_format: torch.memory_format):
    for channels in (1, 5):
        x = a_map(kind, channels, LARGE, dtype, memory_format)
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
        x = a_map("constant", channels, size, torch.float32, memory_format)
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
