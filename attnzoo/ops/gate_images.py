"""A whole channel and spatial gate without gradients, image by image, so that each image is read from memory once.

This is how ``SqueezeExcite`` and ``CBAM`` infer on the CPU. It computes what ``global_pool``, ``squeeze_channels``,
``spatial_conv`` and ``apply_gates`` compute one after the other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnzoo.ops import autograd, dispatch
from attnzoo.ops.noting import listened, note_gates


class Bottleneck(NamedTuple):
    """The two layers of a channel gate, with a ReLU between them and a sigmoid behind."""

    reduce: nn.Conv2d
    expand: nn.Conv2d
    maxima: bool
    """Whether it looks at averages and maxima, summed behind the ReLU, or at averages only."""


class Convolution(NamedTuple):
    """The convolution of a spatial gate and the norm behind it, if there is one, with a sigmoid behind."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None


def applies(x: Tensor, *modules: nn.Module) -> bool:
    """Tell whether ``gate_images`` may take the place of calling ``modules``.

    It may not where a gradient is wanted, where anybody watches (hooks, compilers, counters), or where there are fewer
    images than threads.
    """
    return (
        not torch.compiler.is_compiling()  # first: no compiler traces the number of threads
        and not torch.is_grad_enabled()
        and x.shape[0] >= torch.get_num_threads()
        and not any(m._forward_hooks or m._forward_pre_hooks for m in modules)  # noqa: SLF001
        and dispatch.choose(x, None) == "native"
    )


def gate_images(
    x: Tensor,
    bottleneck: Bottleneck | None,
    convolution: Convolution | None,
    *,
    residual: bool = False,
    layer: nn.Module | None = None,
) -> Tensor:
    """Return ``x * gates``, or ``x * (gates + 1)``; see ``applies``.

    Args:
        x: Map (B, C, H, W) on the CPU.
        bottleneck: The channel gate, if there is one.
        convolution: The spatial gate, if there is one.
        residual: Add 1 to the product of the gates.
        layer: Whose gates they are, for whoever listens to ``note_gates``.
    """
    from attnzoo.kernels.cpu import launch

    x = autograd.dense(x)
    y = torch.empty_like(x)
    net = conv = None
    if bottleneck is not None:
        reduce, expand = bottleneck.reduce, bottleneck.expand
        weights = (reduce.weight.contiguous(), expand.weight.contiguous())
        net = launch.Bottleneck(*weights, _float(reduce.bias), _float(expand.bias), bottleneck.maxima)
    if convolution is not None:
        weight = convolution.conv.weight.float().contiguous()
        conv = launch.Convolution(weight, *_affine(convolution))
    gates = launch.gate_images(x, net, conv, float(residual), y)
    if layer is not None and listened():
        _note(layer, x, gates, net is not None, conv is not None)
    return y


def _note(layer: nn.Module, x: Tensor, gates: Tensor, channel: bool, spatial: bool) -> None:
    batch, channels, height, width = x.shape
    found = {}
    if channel:
        found["channel"] = gates[: batch * channels].view(batch, channels, 1, 1)
    if spatial:
        found["spatial"] = gates[batch * channels :].view(batch, 1, height, width)
    note_gates(layer, found)


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float().contiguous()


def _affine(convolution: Convolution) -> tuple[float, float]:
    """Return scale and shift of what follows the convolution: its bias, then the norm in evaluation."""
    conv, norm = convolution
    bias = 0.0 if conv.bias is None else conv.bias.item()
    if norm is None:
        return 1.0, bias
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"norm must keep running statistics to be folded, got {norm}")
    scale = 1 / math.sqrt(norm.running_var.item() + norm.eps)
    shift = (bias - norm.running_mean.item()) * scale
    if norm.affine:
        weight = norm.weight.item()
        scale, shift = scale * weight, shift * weight + norm.bias.item()
    return scale, shift
