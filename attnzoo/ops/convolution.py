"""The small convolutions inside the gates, by faster operations than ``nn.Conv2d`` has for them.

Where somebody watches a convolution by hooks, or has put another module in its place (an adapter, a quantised one),
that module is called as it stands.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.ops.spatial_conv import spatial_conv


def pointwise(conv: nn.Module, vectors: Tensor) -> Tensor:
    """Return a 1x1 convolution of vectors (N, C), as (N, C') in their dtype; a product of matrices is enough."""
    if not _may_bypass(conv):
        outputs: Tensor = conv(vectors[:, :, None, None].to(_dtype(conv)))
        return outputs.flatten(1).to(vectors.dtype)
    bias = None if conv.bias is None else conv.bias.to(vectors.dtype)
    return F.linear(vectors, conv.weight.flatten(1).to(vectors.dtype), bias)


def planar(conv: nn.Module, planes: Tensor) -> Tensor:
    """Return a convolution of two planes (B, 2, H, W) to one (B, 1, H, W), in the dtype of its weights."""
    if not _may_bypass(conv):
        logits: Tensor = conv(planes.to(_dtype(conv)))
        return logits
    return spatial_conv(planes, conv.weight, conv.bias).to(conv.weight.dtype)


def watched(module: nn.Module) -> bool:
    """Tell whether hooks of any kind wait for a module to be called."""
    forward = module._forward_hooks or module._forward_pre_hooks  # noqa: SLF001
    return bool(forward or module._backward_hooks or module._backward_pre_hooks)  # noqa: SLF001


def _may_bypass(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(conv) is nn.Conv2d and not watched(conv)


def _dtype(conv: nn.Module) -> torch.dtype:
    return next(conv.parameters()).dtype
