"""Float32 linear layers on CPUs by oneDNN's operator, which in torch only the compiler uses.

In eager mode torch calls the BLAS, which takes about twice as long for a large layer and cannot add a map in the same
pass. oneDNN's fused ReLU is not used: it turns NaN into 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import eligibility, torch_internals


def is_usable(*tensors: Tensor | None) -> bool:
    """Tell whether oneDNN's operator may take these tensors: dense, float32, on the CPU, not empty, gradients off.

    It may not under autocast, a transform, a tracer or a dispatch mode, which do not know the operator.
    """
    for t in tensors:
        if t is not None and not (t.is_cpu and t.dtype is torch.float32 and t.numel() > 0):
            return False
    forbidden = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not eligibility.plain_eager()
    built = torch_internals.HAS_LINEAR_POINTWISE
    return built and not forbidden and eligibility.plain(*tensors) and torch_internals.onednn_enabled()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``F.linear(x, weight, bias)``, by oneDNN where it is usable."""
    if not is_usable(x, weight, bias):
        return F.linear(x, weight, bias)
    return torch_internals.linear_pointwise(x, weight, bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None) -> Tensor:
    """Apply a 1x1 convolution to channels-last maps (B, C, H, W) and add the map ``added``; ``is_usable`` must hold."""
    pixels, matrix = x.permute(0, 2, 3, 1), weight.flatten(1)
    added_pixels = None if added is None else added.permute(0, 2, 3, 1)
    return torch_internals.linear_pointwise(pixels, matrix, bias, added_pixels).permute(0, 3, 1, 2)
