"""The maximum of each 2x2 pixels: torch's, to the bit."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo import ops
from attnzoo.kernels.cpu import launch, library
from attnzoo.ops import igc
from attnzoo.ops.igc.halve import reference
from tests.ops import cases
from tests.ops.cases import native_only

SHAPES = [
    (1, 1, 2, 2),
    (2, 3, 4, 30),
    (1, 5, 6, 32),
    (3, 1, 2, 34),
    (1, 2, 8, 62),
    (2, 2, 2, 66),
    (1, 0, 4, 4),
    (0, 2, 4, 4),
]


@pytest.fixture(params=library.instruction_sets() if cases.HAS_NATIVE else [])
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute by the kernels of one instruction set."""
    kernels = library.Kernels(request.param)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    return request.param


def maps(shape: tuple[int, ...]) -> Tensor:
    x = torch.randn(shape)
    flat = x.flatten()
    for start, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        flat[start::7] = value
    return x


@native_only
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_are_torch_to_the_bit(shape: tuple[int, ...], threads: int, isa: str, monkeypatch: pytest.MonkeyPatch):
    if threads > 1:
        monkeypatch.setattr(sys.modules["attnzoo.ops.igc.halve"], "_ONE_THREAD", 0)
    x = maps(shape)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        found = igc.halve(given, backend="native")
        assert torch.equal(found.isnan(), reference(x).isnan())
        assert torch.equal(found.nan_to_num(7), reference(x).nan_to_num(7))
        assert found.is_contiguous()


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_it_is_max_pooling(dtype: torch.dtype, backend: str):
    x = maps((2, 3, 6, 10)).to(dtype)
    with ops.backend(backend):
        torch.testing.assert_close(igc.halve(x), F.max_pool2d(x, 2), rtol=0, atol=0, equal_nan=True)


def test_gradients_and_graphs_go_by_torch():
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    igc.halve(x).sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == 8
    graph = torch.compile(igc.halve, fullgraph=True, backend="eager")
    torch.testing.assert_close(graph(x.detach()), F.max_pool2d(x.detach(), 2))


def test_bad_arguments():
    for shape in ((1, 2, 3, 4), (1, 2, 4, 5), (2, 4, 4)):
        with pytest.raises(ValueError, match=r"maps must have shape \(B, C, H, W\) with H and W even, got"):
            igc.halve(torch.ones(shape))
