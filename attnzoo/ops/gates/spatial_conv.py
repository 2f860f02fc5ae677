"""The convolution of a spatial gate: two input channels, one output channel, a small odd kernel, zero padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import autograd, dispatch, eligibility

NATIVE_SIZES = (1, 3, 5, 7)


def spatial_conv(planes: Tensor, weight: Tensor, bias: Tensor | None = None, *, backend: str | None = None) -> Tensor:
    """Convolve a map of two channels to one channel of the same height and width.

    Args:
        planes: (B, 2, H, W).
        weight: (1, 2, K, K), K odd.
        bias: (1,), or None.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        (B, 1, H, W) of the dtype of ``planes``.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape is wrong.
    """
    size = weight.shape[-1]
    if planes.dim() != 4 or planes.shape[1] != 2:
        raise ValueError(f"planes must have shape (B, 2, H, W), got {tuple(planes.shape)}")
    if weight.shape != (1, 2, size, size) or size % 2 == 0:
        raise ValueError(f"weight must have shape (1, 2, K, K) with K odd, got {tuple(weight.shape)}")
    if bias is not None and bias.shape != (1,):
        raise ValueError(f"bias must have shape (1,), got {tuple(bias.shape)}")
    unfit = None
    if size not in NATIVE_SIZES or planes.dtype != torch.float32:
        unfit = f"float32 planes and K in {NATIVE_SIZES} are needed, got {planes.dtype} and K = {size}"
    if eligibility.choose("spatial_conv", planes, backend, unfit, others=(weight, bias)) != "torch":
        inputs = (planes, weight, bias)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
            out: Tensor = _Convolve.apply(*inputs)
            return out
        return dispatch.operator("spatial_conv", _forward)(*inputs)
    return reference(planes, weight, bias)


def reference(planes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the same as ``spatial_conv``, computed by torch."""
    bias = None if bias is None else bias.to(planes.dtype)
    return F.conv2d(planes, weight.to(planes.dtype), bias, padding=weight.shape[-1] // 2)


torch.library.define("attnzoo::spatial_conv", "(Tensor planes, Tensor weight, Tensor? bias) -> Tensor")
torch.library.define(
    "attnzoo::spatial_conv_backward", "(Tensor d_out, Tensor planes, Tensor weight) -> (Tensor, Tensor)"
)


def _output(planes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, _, height, width = planes.shape
    return planes.new_empty((batch, 1, height, width))


torch.library.register_fake("attnzoo::spatial_conv", _output)


def _forward(planes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    launch = dispatch.launcher(planes)
    out = _output(planes, weight, bias)
    kernel = weight.float().contiguous()
    launch.spatial_conv(planes.contiguous(), kernel, bias, out)
    return out


torch.library.impl("attnzoo::spatial_conv", ("CPU", "CUDA"), _forward)


def _gradients(d_out: Tensor, planes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return planes.new_empty(planes.shape), planes.new_empty(weight.shape)


torch.library.register_fake("attnzoo::spatial_conv_backward", _gradients)


def _backward(d_out: Tensor, planes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    launch = dispatch.launcher(planes)
    d_planes, d_weight = _gradients(d_out, planes, weight)
    kernel = weight.float().contiguous()
    launch.spatial_conv_backward(planes.contiguous(), kernel, d_out.contiguous(), d_planes, d_weight)
    return d_planes, d_weight


torch.library.impl("attnzoo::spatial_conv_backward", ("CPU", "CUDA"), _backward)
autograd.differentiable_once("attnzoo::spatial_conv_backward")


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _rule(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    planes, weight, bias = ctx.saved_tensors
    if autograd.needs_reference(d_out):
        return tuple(autograd.reference_gradients(lambda *i: (reference(*i),), [planes, weight, bias], [d_out]))
    d_planes, d_weight = dispatch.operator("spatial_conv_backward", _backward)(d_out, planes, weight)
    d_bias = None if bias is None else d_out.sum().view(1).to(bias.dtype)
    return d_planes, d_weight.to(weight.dtype), d_bias


torch.library.register_autograd("attnzoo::spatial_conv", _rule, setup_context=_save)


class _Convolve(torch.autograd.Function):
    """The operator with its autograd rule, without the time that torch's dispatcher takes."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        out = dispatch.operator("spatial_conv", _forward)(*inputs)
        _save(ctx, inputs, out)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        return _rule(ctx, d_out)
