"""Linear layers on a few vectors, by a kernel that reads the weights once and wakes its threads once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import dispatch, eligibility
from attnzoo.ops.dense import onednn

FEW = 64
"""Number of vectors up to which the kernel is faster than a matrix product."""


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False, backend: str | None = None
) -> Tensor:
    """Return ``x @ weight.T + bias``, through a ReLU if ``relu``.

    Args:
        x: Vectors (N, C).
        weight: (C', C).
        bias: (C',), or None.
        relu: Whether to apply a ReLU.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        Vectors (N, C').

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape does not fit.
    """
    _check_vectors(x)
    _check_weights(x.shape[1], weight, bias)
    if not eligibility.takes_native("linear", x, backend, _unfit(x, weight, bias), compiled=True):
        y = onednn.linear(x, weight, bias)
        return F.relu(y) if relu else y
    return dispatch.operator("linear", _forward)(x, weight, bias, relu)


def _check_vectors(x: Tensor) -> None:
    if x.dim() != 2 or x.shape[1] == 0:
        raise ValueError(f"x must have shape (N, C), got {tuple(x.shape)}")


def _check_weights(inputs: int, weight: Tensor, bias: Tensor | None) -> None:
    if weight.dim() != 2 or weight.shape[1] != inputs:
        raise ValueError(f"weight must have shape (C', {inputs}), got {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({len(weight)},), got {tuple(bias.shape)}")


class LinearLayer(NamedTuple):
    """A layer of a chain; see ``linear``.

    Attributes:
        weight: (C', C).
        bias: (C',), or None.
        relu: Whether to apply a ReLU.
        gathered: Whether the outputs (N, C') are flattened to one vector (1, C' N), channel by channel.
    """

    weight: Tensor
    bias: Tensor | None = None
    relu: bool = False
    gathered: bool = False


def linears(x: Tensor, layers: Sequence[LinearLayer], *, backend: str | None = None) -> Tensor:
    """Apply linear layers one after the other.

    Args:
        x: Vectors (N, C), the first layer's input.
        layers: The layers, at least one.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        The last layer's output (N, C'), or (1, C' N) if it is ``gathered``.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape does not fit, or there are no layers.
    """
    if not layers:
        raise ValueError("layers must be at least one, got none")
    _check_vectors(x)
    reasons = [_unfit(x, weight, bias) for weight, bias, _, _ in layers]
    # in a compiled graph each layer is an operator
    if torch.compiler.is_compiling() or not eligibility.takes_native(
        "linears", x, backend, next(filter(None, reasons), None)
    ):
        for weight, bias, relu, gathered in layers:
            x = linear(x, weight, bias, relu=relu, backend=backend)
            x = x.t().reshape(1, -1) if gathered else x
        return x
    return _chain(x, layers)


def _unfit(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Return why the kernel cannot compute a layer, or is slower, or None."""
    tensors = [t for t in (x, weight, bias) if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return "the kernel has no gradient"
    if not all([t.is_cpu and t.dtype is torch.float32 for t in tensors]):  # noqa: C419 - the faster form
        return f"all tensors must be float32 on the CPU, got {[(t.dtype, t.device) for t in tensors]}"
    if not eligibility.plain(weight, bias):
        return "all tensors must be plain dense ones"
    if eligibility.exporting() or x.shape[0] <= FEW:
        return None
    return f"the kernel takes at most {FEW} vectors, got {x.shape[0]}"


torch.library.define("attnzoo::linear", "(Tensor x, Tensor weight, Tensor? bias, bool relu) -> Tensor")


def _output(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


torch.library.register_fake("attnzoo::linear", _output)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    return _chain(x, [LinearLayer(weight, bias, relu)])


torch.library.impl("attnzoo::linear", "CPU", _forward)


def _chain(x: Tensor, layers: Sequence[LinearLayer]) -> Tensor:
    from attnzoo.kernels.cpu.dense import launch_linear

    vectors, inputs = x.shape
    packed = []
    for weight, bias, relu, gathered in layers:
        _check_weights(inputs, weight, bias)
        outputs = weight.shape[0]
        dense = None if bias is None else bias.contiguous()
        packed.append(launch_linear.Layer(weight.contiguous(), dense, relu, gathered))
        vectors, inputs = (1, vectors * outputs) if gathered else (vectors, outputs)
    y = x.new_empty((vectors, inputs))
    launch_linear.linears(x if x.t().is_contiguous() else x.contiguous(), packed, y)
    return y
