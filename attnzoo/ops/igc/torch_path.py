"""CEDNN's block by torch: its convolutions with the norms folded in, channels-last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import eligibility
from attnzoo.ops.dense import onednn
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.memory_format import channels_last

_FEW = 64
"""Channels up to which maxima of halves are faster than ``max_pool2d``; measured."""


class IGCOutput(NamedTuple):
    """What the block makes, and if asked for the averages (B, C') of it over the pixels before pooling."""

    map: Tensor
    means: Tensor | None


class Folded(NamedTuple):
    """Three convolutions, weight and bias each, that do what a block's stages do, norms and permutations included."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    third: tuple[Tensor, Tensor]
    groups: int
    """Of the first."""
    input: Literal["added", "behind"] | None
    """Whether the block's input is added to what the second makes, or stands behind it."""


def fold(stages: Sequence[Stage], groups: int) -> Folded:
    """Return the convolutions of a block whose first has ``groups`` groups.

    The permuted 1x1 convolution is one dense convolution. Where an activation is infinite, its zeros make a NaN of it.
    """
    first, (second, bias), third = map(_folded, stages)
    dense = in_natural_order(second, groups), bias.view(-1, groups).t().reshape(-1)
    return Folded(first, dense, third, groups, "added" if third[0].shape[1] == len(first[0]) else "behind")


def reference(
    x: Tensor,
    folded: Folded,
    *,
    pool: bool,
    maps: Tensor | None = None,
    residual: bool = False,
    gate: Tensor | None = None,
    means: bool = False,
) -> IGCOutput:
    """Return what ``igc_block`` does, of the same arguments, channels-last."""
    if maps is None and gate is None and _may_be_spread(x, folded):
        folded = _spread(folded, x.shape[1])
    else:
        x = _guided(x, len(folded.first[0]), maps, residual, gate)
    fresh = not eligibility.transformed()  # what a convolution has just made may be overwritten
    if x.device.type == "cpu":
        x = channels_last(x)
    pointwise = onednn.pointwise if onednn.serves(x, folded.third[0]) else _pointwise
    y = F.relu(F.conv2d(x, *folded.first, padding=1, groups=folded.groups), inplace=fresh)
    y = pointwise(y, *folded.second, x if folded.input == "added" else None)
    y = torch.cat([y, x], dim=1) if folded.input == "behind" else y
    y = pointwise(F.relu(y, inplace=fresh), *folded.third)
    if not means:
        return IGCOutput(F.relu(_pooled(y) if pool else y, inplace=fresh), None)  # cuts off a quarter only
    y = F.relu(y, inplace=fresh)
    return IGCOutput(_pooled(y) if pool else y, y.mean((2, 3)))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None) -> Tensor:
    y = F.conv2d(x, weight, bias)
    if added is None:
        return y
    return y + added if eligibility.transformed() else y.add_(added)


def _may_be_spread(x: Tensor, folded: Folded) -> bool:
    """Tell whether ``_spread`` serves: there are zeros in its weights, of which an infinite input would make NaN."""
    weight, _ = folded.first
    of_single = weight.shape[1] == 1 and x.shape[1] < len(weight) and folded.input == "added"
    asked = torch.is_grad_enabled() or not x.is_cpu or not eligibility.plain_eager()  # who may not look at values
    return of_single and not asked and math.isfinite(x.sum().item())


def _spread(folded: Folded, given: int) -> Folded:
    """Return convolutions of ``given`` channels for those of the same channels several times over.

    To write these many times, and to read them twice, would cost as much as a convolution. The first hands them on,
    what is positive of them and what is negative, and the second puts them together again where they were to be added.
    """
    (first, first_bias), (second, second_bias), third = folded[:3]
    one = torch.eye(given, dtype=first.dtype, device=first.device)[:, :, None, None]
    handed = F.pad(torch.cat([one, -one]), (1, 1, 1, 1))
    where = one.repeat(len(first) // given, 1, 1, 1)  # (C, given, 1, 1): which of them a channel is
    first = torch.cat([torch.where(where > 0, first, 0.0), handed])
    second = torch.cat([second, where, -where], dim=1)
    return Folded((first, F.pad(first_bias, (0, 2 * given))), (second, second_bias), third, 1, None)


def _pooled(y: Tensor) -> Tensor:
    """Return ``max_pool2d(y, 2)``; where it writes indices for nobody, of few channels by maxima of halves."""
    batch, channels, height, width = y.shape
    if channels > _FEW or torch.is_grad_enabled() or y.device.type != "cpu" or not eligibility.plain_eager():
        return F.max_pool2d(y, 2)
    pixels = y[:, :, : height // 2 * 2, : width // 2 * 2].permute(0, 2, 3, 1)
    pixels = torch.maximum(pixels[:, ::2], pixels[:, 1::2]).reshape(batch, height // 2, width // 2, 2 * channels)
    return torch.maximum(pixels[..., :channels], pixels[..., channels:]).permute(0, 3, 1, 2)


def _folded(stage: Stage) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that does what the stage does."""
    weight, bias, gain, offset, mean, variance, epsilon = stage
    scale = torch.rsqrt(variance + epsilon)
    scale = scale if gain is None else scale * gain
    shift = -mean if bias is None else bias - mean
    shift = shift * scale if offset is None else torch.addcmul(offset, shift, scale)
    return weight * scale.view(-1, 1, 1, 1), shift


def in_natural_order(weight: Tensor, groups: int) -> Tensor:
    """Return a dense weight (C, C, 1, 1) for the 1x1 convolution (C, ``groups``, 1, 1) between two permutations."""
    members = len(weight) // groups
    blocks = weight.view(members, groups, groups).permute(1, 2, 0)  # (to group, from group, member)
    if torch.is_grad_enabled() or not eligibility.plain_eager():
        return torch.diag_embed(blocks).transpose(1, 2).reshape(len(weight), len(weight), 1, 1)
    dense = weight.new_zeros((groups, members, groups, members))  # written once
    dense.diagonal(dim1=1, dim2=3).copy_(blocks)
    return dense.view(len(weight), len(weight), 1, 1)


def _guided(x: Tensor, channels: int, maps: Tensor | None, residual: bool, gate: Tensor | None) -> Tensor:
    """Return the block's input (B, C, H, W)."""
    given = x.shape[1]
    if gate is not None:
        x = x * gate.to(x.dtype)
    if given != channels:
        x = x.repeat(1, channels // given, 1, 1)
    if maps is None:
        return x
    factors = maps.to(x.dtype) + 1 if residual else maps.to(x.dtype)
    factors = torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)
    span = min(given, channels // factors.shape[1])
    factors = factors.repeat_interleave(span, dim=1)
    return x * factors.repeat(1, channels // factors.shape[1], 1, 1)
