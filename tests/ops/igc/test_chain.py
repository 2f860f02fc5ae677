"""Several of CEDNN's blocks as one operation: what they make one by one."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo import IGCBlock, ops
from attnzoo.ops.igc import IGCLink, Stage, igc_block, igc_chain
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.ops.igc.test_block import error, isa, make, stages

__all__ = ["isa"]
BACKENDS = ["torch", pytest.param("native", marks=native_only)]


def blocks() -> list[IGCBlock]:
    return [make(18, 6, "res", 36), make(36, 18, "dense", 72), make(72, 2, "res", 20)]


def links(found: list[IGCBlock], size: tuple[int, int], dtype: torch.dtype, pool: bool) -> list[IGCLink]:
    """Return a chain with maps in two blocks, a gate in one, pooling behind all but the last."""
    made, (height, width) = [], size
    generator = torch.Generator().manual_seed(4)
    for i, block in enumerate(found):
        maps = (torch.rand(2, 5, height, width, generator=generator) > 0.4).to(dtype) if i < 2 else None
        gate = torch.rand(2, 36, 1, 1, generator=generator).to(dtype) if i == 1 else None
        pooled = pool and i + 1 < len(found)
        made.append(IGCLink(stages(block, dtype), block.branch.groups, pooled, maps, i > 0, gate))
        height, width = (height // 2, width // 2) if pooled else (height, width)
    return made


def one_by_one(x: Tensor, chain: list[IGCLink]) -> Tensor:
    for link in chain:
        x = igc_block(x, **link._asdict(), backend="torch").map
    return x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("size", [(9, 7), (16, 16), (66, 70)])
def test_a_chain_is_its_blocks(size: tuple[int, int], pool: bool, backend: str):
    found, face = blocks(), torch.rand(2, 3, *size)
    with torch.no_grad():
        got = igc_chain(face, links(found, size, torch.float32, pool), backend=backend)
        expected = one_by_one(face.double(), links(found, size, torch.float64, pool))
    assert expected.std() > 1e-3
    assert error(got, expected) < 2e-6


@native_only
@pytest.mark.parametrize("size", [(9, 7), (66, 70)])
def test_same_bits_on_any_number_of_threads(size: tuple[int, int], isa: str):
    chain, face = links(blocks(), size, torch.float32, True), torch.rand(2, 3, *size)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            made += [igc_chain(face, chain, backend="native") for _ in range(5)]
    finally:
        torch.set_num_threads(before)
    assert not any(bool(y.isnan().any()) for y in made)
    assert all(torch.equal(made[0], y) for y in made[1:])
    expected = one_by_one(face.double(), links(blocks_of(chain), size, torch.float64, True))
    assert error(made[0], expected) < 2e-6


def blocks_of(chain: list[IGCLink]) -> list[IGCBlock]:
    """Return blocks in float64 that have the weights of a chain."""
    made = []
    for link, block in zip(chain, blocks(), strict=True):
        for stage, (conv, norm) in zip(link.stages, pairs(block), strict=True):
            conv.weight.data, conv.bias.data = stage.weight.double(), stage.bias.double()
            norm.weight.data, norm.bias.data = stage.gain.double(), stage.offset.double()
            norm.running_mean, norm.running_var = stage.mean.double(), stage.variance.double()
        made.append(block)
    return made


def pairs(block: IGCBlock) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    branch = block.branch
    return [(branch.conv1, branch.norm1), (branch.conv2, branch.norm2), (block.fuse, block.norm)]


@pytest.mark.parametrize(
    ("together", "at_a_time"),
    [
        (1, [1] * 10),
        (18 * 30 * 34, [1, 1, 2, 1, 1, 2, 1, 1]),
        (2 * 18 * 30 * 34, [2, 2, 4, 1, 1]),
        (1 << 30, [5, 5]),
    ],
)
@pytest.mark.parametrize("connection", ["res", "dense"])
def test_torch_computes_a_few_images_at_a_time(
    connection: str, together: int, at_a_time: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Of the second block, whose map is half as large, twice as many as of the first."""
    monkeypatch.setattr(sys.modules["attnzoo.ops.igc.chain"], "_LARGEST_BATCH", together)
    found, x, calls, conv = (
        [make(18, 6, connection, 36), make(36, 18, connection, 20)],
        torch.rand(5, 3, 30, 34),
        [],
        F.conv2d,
    )

    def chain(dtype: torch.dtype) -> list[IGCLink]:
        made = []
        for link in links(found, (30, 34), dtype, True):
            beside = {"maps": link.maps, "gate": link.gate}
            five = {name: torch.cat([t, t.flip(0), t[:1]]) for name, t in beside.items() if t is not None}
            made.append(link._replace(**five))
        return made

    def counted(images: Tensor, *arguments: Any, **options: Any) -> Tensor:
        calls.append(len(images))
        return conv(images, *arguments, **options)

    with torch.no_grad():
        expected = one_by_one(x.double(), chain(torch.float64))
        monkeypatch.setattr(F, "conv2d", counted)
        got = igc_chain(x, chain(torch.float32), backend="torch")
    assert error(got, expected) < 2e-6
    assert calls == at_a_time


def test_a_graph_holds_for_any_batch_and_gradients_flow():
    block = randomise(IGCBlock(18, groups=18, out_channels=36)).eval()
    own = [Stage.of(conv, norm) for conv, norm in pairs(block)]
    chain = [IGCLink(own, 18, True), IGCLink(stages(make(36, 6), torch.float32), 6, True)]
    x = torch.rand(3, 3, 122, 130)
    with torch.no_grad(), ops.backend("torch"):
        got = igc_chain(x, chain)
        compiled = torch.compile(lambda t: igc_chain(t, chain), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), got, rtol=1e-4, atol=1e-5)
        mapped = torch.func.vmap(lambda t: igc_chain(t, chain))(x[None])[0]
        torch.testing.assert_close(mapped, got, rtol=1e-4, atol=1e-5)
    leaf = x.clone().requires_grad_()
    igc_chain(leaf, chain).sum().backward()
    assert bool(leaf.grad.any())


def doubled(found: list[Stage]) -> list[Stage]:
    return [Stage(*(t.detach().double() if isinstance(t, Tensor) else t for t in stage)) for stage in found]


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batches_and_other_dtypes(backend: str):
    chain = [link._replace(maps=None, gate=None) for link in links(blocks(), (8, 8), torch.bfloat16, True)]
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert igc_chain(x[:0].bfloat16(), chain, backend=backend).shape == (0, 20, 2, 2)
        got = igc_chain(x.bfloat16(), chain, backend=backend)
        exact = [link._replace(stages=doubled(link.stages)) for link in chain]
        assert got.dtype == torch.bfloat16
        assert error(got, one_by_one(x.bfloat16().double(), exact)) < 0.1


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_input(backend: str):
    chain = links(blocks(), (8, 8), torch.float32, True)
    with pytest.raises(ValueError, match="links must be at least one block, got none"):
        igc_chain(torch.ones(2, 3, 8, 8), [], backend=backend)
    with pytest.raises(ValueError, match=r"maps must have shape \(2, n, 8, 9\), got \(2, 5, 8, 8\)"), torch.no_grad():
        igc_chain(torch.ones(2, 3, 8, 9), chain, backend=backend)
    many = chain[0]._replace(maps=torch.ones(3, 5, 8, 8))
    with pytest.raises(ValueError, match=r"maps must have shape \(2, n, 8, 8\), got \(3, 5, 8, 8\)"), torch.no_grad():
        igc_chain(torch.ones(2, 3, 8, 8), [many, *chain[1:]], backend=backend)
    wrong = [chain[2], chain[1]._replace(maps=None, gate=None)]
    with pytest.raises(ValueError, match=r"x must have 36 channels, or 36 divided by a whole number, got 20"):
        igc_chain(torch.ones(2, 3, 8, 8), wrong, backend=backend)


@native_only
def test_kernels_have_no_gradient():
    chain = [link._replace(maps=None, gate=None) for link in links(blocks(), (8, 8), torch.float32, True)]
    with pytest.raises(RuntimeError, match="the kernel has no gradient"):
        igc_chain(torch.ones(2, 3, 8, 8, requires_grad=True), chain, backend="native")
