"""3x3 convolutions with fewer multiplications, of one map or of two as if they were concatenated.

Winograd's minimal filtering F(2x2, 3x3), in float32, channels-last: 16 multiplications make four outputs where the
definition takes 36, and rounding errors are no larger. One thing differs: a value that is not finite reaches all four
outputs of a tile of 2x2 where it reaches one.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.ops import autograd, eligibility

_PIXELS = 1500
"""From this many on it is faster, though the weights are transformed at every call; measured."""
_PANEL = 32
"""Output channels whose weights lie together."""


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """Return ``conv(x)``, a 3x3 convolution with fewer multiplications where there is a kernel for it.

    That is one of stride 1 that keeps the map's size, in float32, channels-last, on the CPU, on a map that is large
    enough. There a value that is not finite may reach neighbours that ``conv`` would not have it reach.

    Args:
        conv: A convolution; anything but a plain ``nn.Conv2d``, or one with hooks, is called as it stands.
        x: Map (B, C, H, W).
    """
    if not checks.is_symbolic(x) and may_bypass(conv) and keeps_size(conv) and applies(conv.weight, x):
        return winograd(x, None, conv.weight, conv.bias)
    y: Tensor = conv(x)
    return y


def may_bypass(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Tell whether nobody sees that another operation takes the place of calling ``conv``."""
    return type(conv) is nn.Conv2d and eligibility.why_called(conv) is None


def keeps_size(conv: nn.Conv2d) -> bool:
    """Tell whether it keeps the size of a map as a plain 3x3 convolution does, if its kernel is 3x3."""
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1 and conv.padding_mode == "zeros"
    return plain and conv.padding in ("same", (1, 1))


def applies(weight: Tensor, *maps: Tensor) -> bool:
    """Tell whether ``winograd`` may convolve ``maps`` (B, C, H, W) by ``weight``, and is the faster way."""
    x = maps[0]
    return (
        weight.shape[2:] == (3, 3)
        and len(weight) % _PANEL == 0
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (weight, *maps))
        and all(_is_channels_last(t) and t.shape[1] % _PANEL == 0 for t in maps)
        and not torch.compiler.is_compiling()
        and x.numel() // x.shape[1] >= _PIXELS
        and not torch.is_autocast_enabled("cpu")
        and eligibility.may_fuse("winograd", x, None, beside=(*maps, weight))
    )


def winograd(x: Tensor, beside: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution of ``[x : beside]``, zero padded; see ``applies``."""
    if not torch.is_grad_enabled():
        return _convolved(x, beside, weight, bias)
    y: Tensor = _Convolution.apply(x, beside, weight, bias)
    return y


def reference(x: Tensor, beside: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute it by torch."""
    return F.conv2d(x if beside is None else torch.cat([x, beside], dim=1), weight, bias, padding=1)


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _convolved(
    x: Tensor, beside: Tensor | None, weight: Tensor, bias: Tensor | None, *, turned: bool = False
) -> Tensor:
    from attnzoo.kernels.cpu.dense import launch_winograd

    shape = (len(x), len(weight), *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    launch_winograd.winograd(x, beside, weight, turned, None if bias is None else bias.contiguous(), y)
    return y


class _Convolution(torch.autograd.Function):
    """The gradient of the maps is such a convolution too; that of the weights is torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beside: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, beside, weight, bias)
        return _convolved(x, beside, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, beside, weight, bias = ctx.saved_tensors
        if autograd.needs_reference(dy):
            inputs = (x, beside, weight, bias)
            return tuple(autograd.reference_gradients(lambda *tensors: (reference(*tensors),), inputs, [dy]))
        dy = dy.contiguous(memory_format=torch.channels_last)
        maps = [x] if beside is None else [x, beside]
        d_maps: list[Tensor | None] = [None, None]
        if any(ctx.needs_input_grad[:2]):
            whole = _convolved(dy, None, weight.transpose(0, 1), None, turned=True)
            d_maps[: len(maps)] = torch.split(whole, [t.shape[1] for t in maps], dim=1)
        d_weight = None
        if ctx.needs_input_grad[2]:
            halves = torch.split(weight, [t.shape[1] for t in maps], dim=1)
            d_weight = torch.cat([_of_weight(dy, t, half) for t, half in zip(maps, halves, strict=True)], dim=1)
        d_bias = dy.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
        return *d_maps, d_weight, d_bias


def _of_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    wanted = [False, True, False]
    gradients = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )
    found: Tensor = gradients[1]
    return found
