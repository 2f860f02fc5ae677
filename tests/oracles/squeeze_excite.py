"""Hu et al., eqs. (2)-(4): z_c is the mean of channel c, s = sigma(W2 delta(W1 z)), and channel c becomes s_c x_c."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracles.pointwise import affine, relu, sigmoid


def squeeze_excite(
    x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None, *, residual: bool = False
) -> Tensor:
    """Gate x (B, C, H, W); ``residual`` is O = (S * U) + U, eq. (3) of TRA-Net."""
    batch, channels, height, width = x.shape
    out = torch.empty_like(x)
    for b in range(batch):
        z = torch.stack([sum(x[b, c].flatten()) / (height * width) for c in range(channels)])
        s = sigmoid(affine(w2, b2, relu(affine(w1, b1, z))))
        for c in range(channels):
            out[b, c] = s[c] * x[b, c] + (x[b, c] if residual else 0)
    return out
