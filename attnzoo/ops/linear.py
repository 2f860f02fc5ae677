"""A linear layer of a few vectors: what counts is that its weights are read from memory once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import dispatch

FEW = 64
"""Vectors up to which the kernel is the faster one; beyond, a product of matrices shares more of what it reads."""


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False, backend: str | None = None
) -> Tensor:
    """Return ``x @ weight.T + bias``, or what of it is positive.

    Args:
        x: Vectors (N, C).
        weight: (C', C).
        bias: (C',), or None.
        relu: Whether negative values become 0.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        Vectors (N, C').

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape does not fit.
    """
    if x.dim() != 2 or x.shape[1] == 0:
        raise ValueError(f"x must have shape (N, C), got {tuple(x.shape)}")
    if weight.dim() != 2 or weight.shape[1] != x.shape[1]:
        raise ValueError(f"weight must have shape (C', {x.shape[1]}), got {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({len(weight)},), got {tuple(bias.shape)}")
    if not dispatch.takes_native(x, backend, _unfit(x, weight, bias)):
        y = F.linear(x, weight, bias)
        return F.relu(y) if relu else y
    return dispatch.operator("linear", _forward)(x, weight, bias, relu)


def _unfit(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Return why the kernel cannot do it, or is not the one to do it."""
    tensors = [t for t in (x, weight, bias) if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return "the kernel has no gradient"
    if any(t.dtype != torch.float32 or t.device != x.device for t in tensors):
        return f"all tensors must be float32 on one device, got {[(t.dtype, t.device) for t in tensors]}"
    if dispatch.exporting() or x.shape[0] <= FEW:
        return None
    return f"it is made for at most {FEW} vectors, got {x.shape[0]}"


torch.library.define("attnzoo::linear", "(Tensor x, Tensor weight, Tensor? bias, bool relu) -> Tensor")


def _output(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


torch.library.register_fake("attnzoo::linear", _output)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    from attnzoo.kernels.cpu import launch_igc

    y = _output(x, weight, bias, relu)
    launch_igc.linear(x.contiguous(), weight.contiguous(), None if bias is None else bias.contiguous(), relu, y)
    return y


torch.library.impl("attnzoo::linear", "CPU", _forward)
