"""The small convolutions inside the gates, by faster operations than ``nn.Conv2d`` has for them.

Where somebody watches a convolution by hooks, or has put another module in its place (an adapter, a quantised one),
that module is called as it stands, as it is in a symbolic trace (``torch.fx``).
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

_MAPS_A_COPY_OF_WEIGHTS_COSTS = 8
"""How many times larger than the maps weights must be before it is the maps that are copied; measured."""


def pointwise(conv: nn.Module, vectors: Tensor) -> Tensor:
    """Return a 1x1 convolution of vectors (N, C), as (N, C') in their dtype; a product of matrices is enough."""
    if checks.is_symbolic(vectors) or not may_bypass(conv) or not eligibility.is_plain_convolution(conv, 1):
        outputs: Tensor = conv(vectors[:, :, None, None].to(_dtype(conv)))
        return outputs.flatten(1).to(vectors.dtype)
    eligibility.require_one_device(vectors, (conv.weight, conv.bias))
    bias = None if conv.bias is None else conv.bias.to(vectors.dtype)
    return F.linear(vectors, conv.weight.flatten(1).to(vectors.dtype), bias)


def sum_of_pointwise(conv: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of a 1x1 convolution of two vectors each (N, C), which is one of their sum, as (N, C')."""
    if checks.is_symbolic(first) or not may_bypass(conv) or not eligibility.is_plain_convolution(conv, 1):
        return pointwise(conv, first) + pointwise(conv, second)
    eligibility.require_one_device(first, (conv.weight, conv.bias))
    bias = None if conv.bias is None else 2 * conv.bias.to(first.dtype)
    return F.linear(first + second, conv.weight.flatten(1).to(first.dtype), bias)


def planar(conv: nn.Module, planes: Tensor) -> Tensor:
    """Return a convolution of two planes (B, 2, H, W) to one (B, 1, H, W), in the dtype of its weights."""
    size: Any = conv.kernel_size[0] if type(conv) is nn.Conv2d else 0
    if checks.is_symbolic(planes) or not may_bypass(conv) or not eligibility.is_plain_convolution(conv, size):
        logits: Tensor = conv(planes.to(_dtype(conv)))
        return logits
    eligibility.require_one_device(planes, (conv.weight, conv.bias))
    return spatial_conv(planes, conv.weight, conv.bias).to(conv.weight.dtype)


def of_two(conv: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return a convolution of ``[first : second]``, as two maps that are yet to be added, or as one map.

    conv(W, [a : b]) = conv(W_a, a) + conv(W_b, b): the concatenated map need not be written, nor kept for the backward
    pass. Yet to take the weights apart is to copy them, which costs more where they are much larger than the maps:
    these are put together then, if there is no backward pass.
    """
    if checks.is_symbolic(first):
        return conv(torch.cat([first, second], dim=1)), None
    if may_bypass(conv):
        eligibility.require_one_device(first, (conv.weight, conv.bias))
    if may_bypass(conv) and keeps_size(conv) and applies(conv.weight, first, second):
        return winograd(first, second, conv.weight, conv.bias), None
    maps = first.numel() + second.numel()
    infers = not torch.is_grad_enabled() and eligibility.plain_eager()
    if (infers and _MAPS_A_COPY_OF_WEIGHTS_COSTS * maps < _weight(conv).numel()) or not may_bypass(conv):
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
