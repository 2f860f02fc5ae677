"""Hua et al. (DBA-Net), eqs. (1)-(6), in the paper's order: every map is re-weighted first and pooled afterwards."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tests.oracles.pointwise import affine, relu, sigmoid


class Extractor(NamedTuple):
    """W_fc1, b_fc1, W_fc2, b_fc2 of one map."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor


def reweighted(maps: list[Tensor], extractors: list[Extractor], w11: list[Tensor] | None) -> list[Tensor]:
    """Return f_att1 .. f_attn; ``w11`` holds W_11i for all maps but the deepest, None leaves the backward step out."""
    out = [torch.empty_like(f) for f in maps]
    for b in range(maps[0].shape[0]):
        gates = [_gate(f[b], extractor) for f, extractor in zip(maps, extractors, strict=True)]
        for i, f in enumerate(maps):
            weight = gates[i]
            if w11 is not None and i < len(maps) - 1:
                weight = affine(w11[i], None, torch.cat(gates[i:]))
            for c in range(f.shape[1]):
                out[i][b, c] = f[b, c] * weight[c]
    return out


def pooled(maps: list[Tensor]) -> Tensor:
    """Eq. (6): the global pools of all maps, one after the other, (B, sum of C)."""
    return torch.stack([torch.cat([_global_pool(f[b]) for f in maps]) for b in range(maps[0].shape[0])])


def _global_pool(f: Tensor) -> Tensor:
    """Eq. (2)."""
    channels, height, width = f.shape
    return torch.stack([sum(f[c, i, j] for i in range(height) for j in range(width)) for c in range(channels)]) / (
        height * width
    )


def _gate(f: Tensor, extractor: Extractor) -> Tensor:
    """Eqs. (3)-(4)."""
    hidden = relu(affine(extractor.w1, extractor.b1, _global_pool(f)))
    return sigmoid(affine(extractor.w2, extractor.b2, hidden))
