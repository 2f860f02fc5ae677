"""CEDNN's block computed by torch: convolutions with the norms folded into their weights, channels-last."""

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
"""Number of channels up to which ``torch.maximum`` is faster than ``max_pool2d``; measured."""


class IGCOutput(NamedTuple):
    """The block's output; ``means`` (B, C') are its averages over the pixels before pooling, if they were asked for."""

    map: Tensor
    means: Tensor | None


class Folded(NamedTuple):
    """A block as three convolutions (weight, bias), with norms and permutations folded in."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    third: tuple[Tensor, Tensor]
    groups: int
    """Groups of the first convolution."""
    input: Literal["added", "behind"] | None
    """How the block's input joins the second convolution's output: added, or concatenated behind it."""


def fold(stages: Sequence[Stage], groups: int) -> Folded:
    """Return the convolutions of a block whose first has ``groups`` groups.

    The grouped 1x1 convolution between two permutations becomes one dense convolution. Its zeros turn an infinite
    activation into NaN.
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
    """Return the same as ``igc_block``, computed by torch, channels-last on the CPU."""
    if maps is None and gate is None and _may_be_spread(x, folded):
        folded = _spread(folded, x.shape[1])
    else:
        x = _guided(x, len(folded.first[0]), maps, residual, gate)
    in_place = not eligibility.transformed()  # a convolution's output may be overwritten
    if x.device.type == "cpu":
        x = channels_last(x)
    pointwise = onednn.pointwise if onednn.is_usable(x, folded.third[0]) else _pointwise
    y = F.relu(F.conv2d(x, *folded.first, padding=1, groups=folded.groups), inplace=in_place)
    y = pointwise(y, *folded.second, x if folded.input == "added" else None)
    y = torch.cat([y, x], dim=1) if folded.input == "behind" else y
    y = pointwise(F.relu(y, inplace=in_place), *folded.third)
    if not means:
        return IGCOutput(
            F.relu(_pooled(y) if pool else y, inplace=in_place), None
        )  # pooling first: a quarter of the values
    y = F.relu(y, inplace=in_place)
    return IGCOutput(_pooled(y) if pool else y, y.mean((2, 3)))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor, added: Tensor | None = None) -> Tensor:
    y = F.conv2d(x, weight, bias)
    if added is None:
        return y
    return y + added if eligibility.transformed() else y.add_(added)


def _may_be_spread(x: Tensor, folded: Folded) -> bool:
    """Tell whether ``_spread`` gives the same result: its weights hold zeros, which turn an infinite input into NaN."""
    weight, _ = folded.first
    depthwise = weight.shape[1] == 1 and x.shape[1] < len(weight) and folded.input == "added"
    unreadable = torch.is_grad_enabled() or not x.is_cpu or not eligibility.plain_eager()  # values must not be read
    return depthwise and not unreadable and math.isfinite(x.sum().item())


def _spread(folded: Folded, given: int) -> Folded:
    """Return convolutions that take ``given`` channels in place of the same channels repeated several times.

    Writing the repeated channels and reading them twice takes as long as a convolution. Instead the first convolution
    also outputs the channels and their negatives, which survive the ReLU as positive and negative parts, and the second
    subtracts one part from the other where it must add the block's input.
    """
    (first, first_bias), (second, second_bias), third = folded[:3]
    one = torch.eye(given, dtype=first.dtype, device=first.device)[:, :, None, None]
    passed = F.pad(torch.cat([one, -one]), (1, 1, 1, 1))
    where = one.repeat(len(first) // given, 1, 1, 1)  # (C, given, 1, 1): 1 at the given channel that a channel repeats
    first = torch.cat([torch.where(where > 0, first, 0.0), passed])
    second = torch.cat([second, where, -where], dim=1)
    return Folded((first, F.pad(first_bias, (0, 2 * given))), (second, second_bias), third, 1, None)


def _pooled(y: Tensor) -> Tensor:
    """Return ``max_pool2d(y, 2)``, for few channels by ``torch.maximum`` where no gradient needs the indices."""
    batch, channels, height, width = y.shape
    if channels > _FEW or torch.is_grad_enabled() or y.device.type != "cpu" or not eligibility.plain_eager():
        return F.max_pool2d(y, 2)
    pixels = y[:, :, : height // 2 * 2, : width // 2 * 2].permute(0, 2, 3, 1)
    pixels = torch.maximum(pixels[:, ::2], pixels[:, 1::2]).reshape(batch, height // 2, width // 2, 2 * channels)
    return torch.maximum(pixels[..., :channels], pixels[..., channels:]).permute(0, 3, 1, 2)


def _folded(stage: Stage) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that equals the stage in evaluation."""
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
    """Return the block's input (B, C, H, W): ``x`` times the gate, repeated, and times the guiding maps."""
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
