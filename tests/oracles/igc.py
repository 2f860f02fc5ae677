"""Chen et al. (CEDNN), eqs. (1)-(8), with the group vectors z_l and z_m written out one after the other.

Normalisation and activation sit as in the block whose counts agree with the paper's Table 6:
W1, norm, relu, P^T, W2, norm, P, connection, relu, W3, norm, relu.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tests.oracles.pointwise import batch_statistics, convolve, normalise, relu


class Stage(NamedTuple):
    """One convolution and the norm behind it; without statistics the batch's own are taken."""

    weight: Tensor
    bias: Tensor
    statistics: tuple[Tensor, Tensor] | None
    affine: tuple[Tensor, Tensor]
    eps: float = 1e-5

    def norm(self, maps: list[Tensor]) -> list[Tensor]:
        """Normalise a batch of maps (C, H, W)."""
        statistics = batch_statistics(maps) if self.statistics is None else self.statistics
        return [normalise(x, statistics, self.affine, self.eps) for x in maps]


def interleaved(x: Tensor, first: Stage, second: Stage, groups: int, stride: int = 1) -> Tensor:
    """Return P W2 P^T W1 x of x (B, C, H, W), normalised."""
    z1 = first.norm([_first_convolution(sample, first, groups, stride) for sample in x])
    z1 = [relu(sample) for sample in z1]
    members = z1[0].shape[0] // groups
    y2 = second.norm([_second_convolution(sample, second, groups, members) for sample in z1])
    restored = []
    for sample in y2:
        y_bar = torch.empty_like(sample)
        for group in range(groups):
            for member in range(members):
                y_bar[group * members + member] = sample[member * groups + group]
        restored.append(y_bar)
    return torch.stack(restored)


def _first_convolution(x: Tensor, stage: Stage, groups: int, stride: int) -> Tensor:
    """Eq. (1): L blocks on the diagonal."""
    taken, made = x.shape[0] // groups, stage.weight.shape[0] // groups
    blocks = []
    for group in range(groups):
        out = slice(group * made, (group + 1) * made)
        blocks.append(convolve(x[group * taken : (group + 1) * taken], stage.weight[out], stage.bias[out], stride))
    return torch.cat(blocks)


def _second_convolution(z1: Tensor, stage: Stage, groups: int, members: int) -> Tensor:
    """Eqs. (2)-(3): partition m is the m-th channel of every group, z_m = [z_1m .. z_Lm], and W_mm is 1x1."""
    partitions = []
    for member in range(members):
        z2_m = torch.stack([z1[group * members + member] for group in range(groups)])
        out = slice(member * groups, (member + 1) * groups)
        partitions.append(convolve(z2_m, stage.weight[out], stage.bias[out]))
    return torch.cat(partitions)


def block(x: Tensor, stages: tuple[Stage, Stage, Stage], groups: int, *, dense: bool) -> Tensor:
    """Return the block's output: eq. (5) or (6), then eq. (7)."""
    first, second, third = stages
    y_bar = interleaved(x, first, second, groups)
    y3 = torch.cat([y_bar, x], dim=1) if dense else y_bar + x
    fused = third.norm([convolve(relu(sample), third.weight, third.bias) for sample in y3])
    return torch.stack([relu(sample) for sample in fused])
