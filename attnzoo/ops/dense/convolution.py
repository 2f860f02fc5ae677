"""The small convolutions inside the gates, computed by faster operations than ``nn.Conv2d``.

The module itself is called if it has hooks, if it is no plain ``nn.Conv2d`` (an adapter, a quantised module), and in
a symbolic trace (``torch.fx``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.ops import eligibility
from attnzoo.ops.dense.winograd import applies, keeps_size, may_bypass, winograd
from attnzoo.ops.gates.spatial_conv import spatial_conv

_WEIGHTS_PER_MAPS = 8
"""Without gradients, the maps are concatenated rather than the weight split if the weight has more than this many times
as many elements; measured."""


def pointwise(conv: nn.Module, vectors: Tensor) -> Tensor:
    """Apply a 1x1 convolution to vectors (N, C) as a linear layer; return (N, C') in the dtype of ``vectors``."""
    if checks.is_symbolic(vectors) or not may_bypass(conv) or not eligibility.is_plain_convolution(conv, 1):
        outputs: Tensor = conv(vectors[:, :, None, None].to(_dtype(conv)))
        return outputs.flatten(1).to(vectors.dtype)
    eligibility.require_one_device(vectors, (conv.weight, conv.bias))
    bias = None if conv.bias is None else conv.bias.to(vectors.dtype)
    return F.linear(vectors, conv.weight.flatten(1).to(vectors.dtype), bias)


def sum_of_pointwise(conv: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Apply a 1x1 convolution to two tensors (N, C) and return the sum (N, C'), computed on the sum of the two."""
    if checks.is_symbolic(first) or not may_bypass(conv) or not eligibility.is_plain_convolution(conv, 1):
        return pointwise(conv, first) + pointwise(conv, second)
    eligibility.require_one_device(first, (conv.weight, conv.bias))
    bias = None if conv.bias is None else 2 * conv.bias.to(first.dtype)
    return F.linear(first + second, conv.weight.flatten(1).to(first.dtype), bias)


def planar(conv: nn.Module, planes: Tensor) -> Tensor:
    """Apply a convolution to ``planes`` (B, 2, H, W); return (B, 1, H, W) in the dtype of its weight."""
    size: Any = conv.kernel_size[0] if type(conv) is nn.Conv2d else 0
    if checks.is_symbolic(planes) or not may_bypass(conv) or not eligibility.is_plain_convolution(conv, size):
        logits: Tensor = conv(planes.to(_dtype(conv)))
        return logits
    eligibility.require_one_device(planes, (conv.weight, conv.bias))
    return spatial_conv(planes, conv.weight, conv.bias).to(conv.weight.dtype)


def convolve_pair(conv: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor | None]:
    """Apply a convolution to two maps concatenated along the channels, without writing the concatenated map.

    conv(W, [a : b]) = conv(W_a, a) + conv(W_b, b). Splitting the weight copies it: if it is much larger than the maps
    and gradients are off, the maps are concatenated instead.

    Returns:
        Two maps (B, C', H, W) whose sum is the convolution, or the convolution and None.
    """
    if checks.is_symbolic(first):
        return conv(torch.cat([first, second], dim=1)), None
    if may_bypass(conv):
        eligibility.require_one_device(first, (conv.weight, conv.bias))
    if may_bypass(conv) and keeps_size(conv) and applies(conv.weight, first, second):
        return winograd(first, second, conv.weight, conv.bias), None
    maps = first.numel() + second.numel()
    no_graph = not torch.is_grad_enabled() and eligibility.plain_eager()
    if (no_graph and _WEIGHTS_PER_MAPS * maps < _weight(conv).numel()) or not may_bypass(conv):
        return conv(torch.cat([first, second], dim=1)), None
    of_first, of_second = torch.split(conv.weight, [first.shape[1], second.shape[1]], dim=1)
    on_first = F.conv2d(first, of_first, conv.bias, conv.stride, conv.padding, conv.dilation)
    return on_first, F.conv2d(second, of_second, None, conv.stride, conv.padding, conv.dilation)


def _dtype(conv: nn.Module) -> torch.dtype:
    return _weight(conv).dtype


def _weight(conv: nn.Module) -> Tensor:
    first = next(conv.parameters(), None)
    weight: Any = conv.weight if first is None else first  # a replica of nn.DataParallel has no parameters
    return weight  # type: ignore[no-any-return]
