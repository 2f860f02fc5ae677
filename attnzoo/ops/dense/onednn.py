"""Products of matrices by oneDNN, to which torch's compiler alone gives its float32 linear layers on CPUs.

In eager mode they go to the BLAS, which reads the matrices of a large layer at half the speed, and cannot add a map to
what it writes. Only sums are made here: oneDNN's own ReLU makes 0 of NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import eligibility, torch_internals


def serves(*tensors: Tensor | None) -> bool:
    """Tell whether oneDNN may be called with these: it has no gradients, and nobody who looks at operators knows it."""
    for t in tensors:
        if t is not None and not (t.is_cpu and t.dtype is torch.float32 and t.numel() > 0):
            return False
    asked = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not eligibility.plain_eager()
    built = torch_internals.HAS_LINEAR_POINTWISE
    return built and not asked and eligibility.plain(*tensors) and torch_internals.onednn_enabled()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``F.linear(x, weight, bias)``."""
    if not serves(x, weight, bias):
        return F.linear(x, weight, bias)
    return torch_internals.linear_pointwise(x, weight, bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None) -> Tensor:
    """Return a 1x1 convolution of channels-last maps (B, C, H, W), with another map added, where ``serves`` says so."""
    pixels, matrix = x.permute(0, 2, 3, 1), weight.flatten(1)
    beside = None if added is None else added.permute(0, 2, 3, 1)
    return torch_internals.linear_pointwise(pixels, matrix, bias, beside).permute(0, 3, 1, 2)
