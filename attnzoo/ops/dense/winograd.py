"""3x3 convolutions by Winograd's algorithm, of one map or of two maps concatenated along the channels.

Winograd's minimal filtering F(2x2, 3x3), in float32, channels-last: 16 multiplications for four outputs instead of 36,
with rounding errors no larger. One difference: a NaN or infinity that reaches one output of a 2x2 tile reaches all
four.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.ops import autograd, eligibility

_PIXELS = 1500
"""Number of pixels B H W from which the kernel is faster than torch's, weight transform included; measured."""
_PANEL = 32
"""The kernel's block of channels: it takes multiples of this number."""


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """Return ``conv(x)``, computed by Winograd's algorithm where the kernel can and is faster.

    The kernel takes 3x3 convolutions of stride 1 that keep height and width, float32, channels-last, on the CPU, on a
    large enough map. With it, a NaN or infinity may reach neighbouring outputs that ``conv`` keeps finite.

    Args:
        conv: A convolution; if it is no plain ``nn.Conv2d`` or has hooks, it is called.
        x: Map (B, C, H, W).
    """
    if not checks.is_symbolic(x) and may_bypass(conv) and keeps_size(conv) and applies(conv.weight, x):
        return winograd(x, None, conv.weight, conv.bias)
    y: Tensor = conv(x)
    return y


def may_bypass(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Tell whether another operation may replace the call of ``conv``: a plain ``nn.Conv2d`` without hooks."""
    return type(conv) is nn.Conv2d and eligibility.why_called(conv) is None


def keeps_size(conv: nn.Conv2d) -> bool:
    """Tell whether a convolution with a 3x3 kernel has stride 1, zero padding of 1, no dilation and no groups."""
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1 and conv.padding_mode == "zeros"
    return plain and conv.padding in ("same", (1, 1))


def applies(weight: Tensor, *maps: Tensor) -> bool:
    """Tell whether ``winograd`` can convolve ``maps`` (B, C, H, W) with ``weight``, and is faster than torch."""
    x = maps[0]
    return (
        weight.shape[2:] == (3, 3)
        and len(weight) % _PANEL == 0
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (weight, *maps))
        and all(_is_channels_last(t) and t.shape[1] % _PANEL == 0 for t in maps)
        and not torch.compiler.is_compiling()
        and x.numel() // x.shape[1] >= _PIXELS
        and not torch.is_autocast_enabled("cpu")
        and eligibility.may_fuse("winograd", x, None, others=(*maps, weight))
    )


def winograd(x: Tensor, second: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the zero-padded 3x3 convolution of ``[x : second]``; ``applies`` must hold."""
    if not torch.is_grad_enabled():
        return _convolved(x, second, weight, bias)
    y: Tensor = _Convolution.apply(x, second, weight, bias)
    return y


def reference(x: Tensor, second: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the same as ``winograd``, computed by torch."""
    return F.conv2d(x if second is None else torch.cat([x, second], dim=1), weight, bias, padding=1)


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _convolved(
    x: Tensor, second: Tensor | None, weight: Tensor, bias: Tensor | None, *, turned: bool = False
) -> Tensor:
    from attnzoo.kernels.cpu.dense import launch_winograd

    shape = (len(x), len(weight), *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    launch_winograd.winograd(x, second, weight, turned, None if bias is None else bias.contiguous(), y)
    return y


class _Convolution(torch.autograd.Function):
    """``winograd`` with gradients: that of the maps by the same kernel, that of the weight by torch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, second: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, second, weight, bias)
        return _convolved(x, second, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, second, weight, bias = ctx.saved_tensors
        if autograd.needs_reference(dy):
            inputs = (x, second, weight, bias)
            return tuple(autograd.reference_gradients(lambda *tensors: (reference(*tensors),), inputs, [dy]))
        dy = dy.contiguous(memory_format=torch.channels_last)
        maps = [x] if second is None else [x, second]
        d_maps: list[Tensor | None] = [None, None]
        if any(ctx.needs_input_grad[:2]):
            whole = _convolved(dy, None, weight.transpose(0, 1), None, turned=True)
            d_maps[: len(maps)] = torch.split(whole, [t.shape[1] for t in maps], dim=1)
        d_weight = None
        if ctx.needs_input_grad[2]:
            halves = torch.split(weight, [t.shape[1] for t in maps], dim=1)
            d_weight = torch.cat(
                [_gradient_of_weight(dy, t, half) for t, half in zip(maps, halves, strict=True)], dim=1
            )
        d_bias = dy.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
        return *d_maps, d_weight, d_bias


def _gradient_of_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    wanted = [False, True, False]
    gradients = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )
    d_weight: Tensor = gradients[1]
    return d_weight
