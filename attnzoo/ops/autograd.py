"""Functions that the autograd rules of several operations share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnzoo.ops import eligibility, torch_internals


def needs_reference(*gradients: Tensor | None) -> bool:
    """Tell whether a backward pass must use torch operations instead of kernels.

    That is so if it must itself be differentiable (``create_graph=True``), or if a gradient has no memory that a kernel
    could read.
    """
    if torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() or eligibility.transformed():
        return True
    return any(g is not None and torch_internals.is_legacy_batched(g) for g in gradients) or not eligibility.plain(
        *gradients
    )


def differentiable_once(operator: str) -> None:
    """Register a gradient of a backward operator that raises: compiled graphs have no second derivatives."""

    def rule(ctx: Any, *gradients: Tensor) -> None:
        raise RuntimeError(f"{operator} is not differentiable: take second derivatives outside of torch.compile")

    torch.library.register_autograd(operator, rule)


def reference_gradients(
    reference: Callable[..., Any], inputs: Sequence[Tensor | None], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients of ``reference(*inputs)``, which torch computes and differentiates anew.

    Fused operations use it for second derivatives: it is slower than their kernels. The inputs are replaced by views of
    themselves, so that the gradient follows the direct dependence on each input, not that of one input on another.

    Args:
        reference: The operation in torch operations; returns one tensor for each of ``gradients``.
        inputs: Its inputs; None for an option that is not given.
        gradients: The gradients of its outputs; None for an output without one.

    Returns:
        One gradient for each input; None where the input needs none.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        views = [None if t is None else t.view_as(t) if t.requires_grad else t.detach() for t in inputs]
        outputs = reference(*views)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        wanted = [v for v in views if v is not None and v.requires_grad]
        if not pairs:
            return [None] * len(inputs)
        computed = torch.autograd.grad(
            [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
        )
    results = iter(computed)
    return [next(results) if v is not None and v.requires_grad else None for v in views]


def dense(x: Tensor) -> Tensor:
    """Return ``x`` if it is contiguous in NCHW or channels-last order, else a contiguous copy in the nearer of the two.

    The nearer one follows the order of the strides, by which torch's convolutions choose their algorithm: a copy in the
    other order would change the rounding of the operations that follow.
    """
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    nearer_to_channels_last = x.stride(1) < x.stride(3) <= x.stride(2)
    return x.contiguous(memory_format=torch.channels_last if nearer_to_channels_last else torch.contiguous_format)


def like(gradient: Tensor, x: Tensor) -> Tensor:
    """Return ``gradient``, which may have any strides, contiguous in the memory format of ``x``."""
    if x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last):
        return gradient.contiguous()
    if not x.is_contiguous():
        return gradient.contiguous(memory_format=torch.channels_last)
    return gradient.contiguous()


def accumulator(x: Tensor) -> torch.dtype:
    """Return the dtype in which sums over ``x`` are computed and returned: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)
