"""CEDNN's block by torch in inference: exact where it takes shortcuts, and no shortcut where it would not be."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attnzoo import IGCBlock
from attnzoo.ops.igc import igc_block
from tests.ops.igc.test_block import error, exact, make, stages


def by_torch(block: IGCBlock, x: torch.Tensor, pool: bool = False, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    with torch.no_grad():
        found = igc_block(x.to(dtype), stages(block, dtype), groups=block.branch.groups, pool=pool, backend="torch")
    return found.map


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (9, 8)])
@pytest.mark.parametrize(
    ("channels", "groups", "connection", "outputs", "times"),
    [
        (18, 18, "res", 36, 6),
        (18, 18, "res", 100, 1),
        (18, 9, "res", 36, 3),
        (36, 18, "dense", 72, 1),
        (6, 6, "dense", 7, 2),
    ],
)
def test_agrees_with_the_paper(
    channels: int, groups: int, connection: str, outputs: int, times: int, size: tuple[int, int], pool: bool
):
    block, x = make(channels, groups, connection, outputs), torch.randn(2, channels // times, *size)
    expected = exact(block, x.repeat(1, times, 1, 1))
    expected = F.max_pool2d(expected, 2) if pool else expected
    assert bool((expected > 0).any())
    assert error(by_torch(block, x, pool), expected) < 2e-6


@pytest.mark.parametrize("times", [2, 6])
def test_channels_that_are_there_several_times_are_not_written(times: int, monkeypatch: pytest.MonkeyPatch):
    block, x, seen = make(18, 18), torch.randn(2, 18 // times, 9, 8), []
    conv = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda t, *a, **options: seen.append(t.shape[1]) or conv(t, *a, **options))
    assert error(by_torch(block, x), exact(block, x.repeat(1, times, 1, 1))) < 2e-6
    assert seen[0] == 18 // times


def test_channels_that_maps_or_a_gate_change_are_written():
    block, x = make(18, 18), torch.rand(2, 3, 6, 5)
    maps, gate = (torch.rand(2, 5, 6, 5) > 0.4).float(), torch.rand(2, 3, 1, 1)
    factors = torch.cat([torch.ones(2, 1, 6, 5), maps], dim=1).repeat_interleave(3, dim=1)
    own = {"groups": 18, "backend": "torch"}
    with torch.no_grad():
        by_maps = igc_block(x, stages(block, torch.float32), maps=maps, **own).map
        by_gate = igc_block(x, stages(block, torch.float32), gate=gate, **own).map
    assert error(by_maps, exact(block, x.repeat(1, 6, 1, 1) * factors)) < 2e-6
    assert error(by_gate, exact(block, (x * gate).repeat(1, 6, 1, 1))) < 2e-6


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_goes_where_it_goes_in_torch(value: float):
    """No zero that is not the block's own makes NaN of an infinite input."""
    block, x = make(6, 6), torch.randn(2, 3, 6, 5)
    x[0, 1, 2, 3] = value
    whole, branch = x.double().repeat(1, 2, 1, 1), block.branch
    with torch.no_grad():
        inner = branch.norm2(branch.conv2(F.relu(branch.norm1(branch.conv1(whole)))))  # one channel a group: no shuffle
        expected = F.relu(block.norm(block.fuse(F.relu(inner + whole))))
    assert not bool(expected.isfinite().all())
    torch.testing.assert_close(by_torch(block, x).double(), expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_nan_survives_every_rectifier_and_maximum():
    for channels, outputs in ((6, 12), (36, 72)):
        block, x = make(channels, 6, "res", outputs), torch.randn(1, channels, 8, 8)
        x[0, 0, 4, 4] = torch.nan
        got = by_torch(block, x, pool=True)
        assert bool(got[:, :, 2, 2].isnan().all())
        assert not bool(got[:, :, 0, 0].isnan().any())


def test_half_precision_is_torchs():
    block, x = make(18, 18), torch.randn(2, 3, 8, 8)
    got = by_torch(block, x, dtype=torch.bfloat16)
    assert got.dtype == torch.bfloat16
    assert error(got, exact(block, x.repeat(1, 6, 1, 1))) < 0.05
