"""What the autograd rules of all operations share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnzoo.ops import eligibility, torch_internals


def needs_reference(*gradients: Tensor | None) -> bool:
    """Tell whether a backward must itself be differentiable, or meets tensors that hold no memory of their own."""
    if torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() or eligibility.transformed():
        return True
    return any(g is not None and torch_internals.is_legacy_batched(g) for g in gradients) or not eligibility.plain(
        *gradients
    )


def differentiable_once(operator: str) -> None:
    """Let second derivatives raise where a compiler has fixed a graph with this backward operator in it."""

    def rule(ctx: Any, *gradients: Tensor) -> None:
        raise RuntimeError(f"{operator} is not differentiable: take second derivatives outside of torch.compile")

    torch.library.register_autograd(operator, rule)


def reference_gradients(
    reference: Callable[..., Any], inputs: Sequence[Tensor | None], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients of ``reference(*inputs)``, computed by torch from the beginning.

    This is how a fused operation is differentiated twice: slow and right. The inputs are replaced by views of
    themselves, so that only the direct dependence on each is followed, not that of one input on another.

    Args:
        reference: The operation's reference path; returns one tensor for each gradient.
        inputs: Its inputs, with None where an option is not given.
        gradients: The gradients of its outputs, with None where there is none.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        views = [None if t is None else t.view_as(t) if t.requires_grad else t.detach() for t in inputs]
        outputs = reference(*views)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        wanted = [v for v in views if v is not None and v.requires_grad]
        if not pairs:
            return [None] * len(inputs)
        found = torch.autograd.grad(
            [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
        )
    results = iter(found)
    return [next(results) if v is not None and v.requires_grad else None for v in views]


def dense(x: Tensor) -> Tensor:
    """Return ``x`` itself if it is dense in NCHW or channels-last order, else a dense copy in the nearer of the two.

    A convolution picks its algorithm by the order of the strides, dense or not: a copy in the other order would have
    whatever follows round differently.
    """
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    pixel_by_pixel = x.stride(1) < x.stride(3) <= x.stride(2)
    return x.contiguous(memory_format=torch.channels_last if pixel_by_pixel else torch.contiguous_format)


def like(gradient: Tensor, x: Tensor) -> Tensor:
    """Return ``gradient`` in the memory format of ``x``; gradients come with any strides, even expanded ones."""
    if x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last):
        return gradient.contiguous()
    if not x.is_contiguous():
        return gradient.contiguous(memory_format=torch.channels_last)
    return gradient.contiguous()


def accumulator(x: Tensor) -> torch.dtype:
    """Return the dtype that sums over ``x`` are made and kept in: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)
