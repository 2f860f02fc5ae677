"""Wang et al. (LLA-Net): F_cat = [F_pre : F_cur], M = sigma(f(F_cat)), F' = F_cur M, with F_cat written out."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracles.pointwise import convolve, sigmoid


def llam(previous: Tensor, current: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Gate ``current`` (B, C, H, W) by a convolution ``weight`` (C, 2C, K, K) on both maps."""
    out = []
    for f_pre, f_cur in zip(previous, current, strict=True):
        f_cat = torch.cat([f_pre, f_cur])
        out.append(f_cur * sigmoid(convolve(f_cat, weight, bias)))
    return torch.stack(out)
