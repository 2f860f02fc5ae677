"""Copy a map several times, keeping some rows in each copy and setting the others to zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnzoo.ops import autograd, dispatch, eligibility


def split_rows(x: Tensor, keep: Tensor, *, backend: str | None = None) -> list[Tensor]:
    """Return one copy of a map for each set of rows; the other rows are 0, even where ``x`` is NaN or infinite.

    Only ``keep`` is saved for the backward pass.

    Args:
        x: Floating map (B, C, H, W).
        keep: The rows that each of R copies keeps: boolean (R, B, H), or (R, 1, H) for the same rows in all images.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        R tensors of the shape and dtype of ``x``.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If ``x`` is no map, or ``keep`` is no boolean tensor of such a shape.
    """
    if x.dim() != 4:
        raise ValueError(f"x must be a map (B, C, H, W), got {tuple(x.shape)}")
    batch, _, height, _ = x.shape
    if keep.dtype != torch.bool or keep.dim() != 3 or keep.shape[1] not in (1, batch) or keep.shape[2] != height:
        raise ValueError(
            f"keep must be boolean of shape (R, {batch} or 1, {height}), got {keep.dtype} {tuple(keep.shape)}"
        )
    if eligibility.choose("split_rows", x, backend, others=(keep,)) == "torch":
        return reference(x, keep)
    x = autograd.dense(x)
    if torch.is_grad_enabled() and x.requires_grad:
        return list(_Split.apply(x, keep))
    return dispatch.operator("split_rows", _forward)(x, keep)


def reference(x: Tensor, keep: Tensor) -> list[Tensor]:
    """Return the same as ``split_rows``, computed by torch."""
    return [torch.where(rows, x, 0) for rows in keep[:, :, None, :, None]]


torch.library.define("attnzoo::split_rows", "(Tensor x, Tensor keep) -> Tensor[]")
torch.library.define("attnzoo::split_rows_backward", "(Tensor[] gradients, Tensor keep, bool channels_last) -> Tensor")


def _outputs(x: Tensor, keep: Tensor) -> list[Tensor]:
    return [torch.empty_like(x) for _ in range(len(keep))]


torch.library.register_fake("attnzoo::split_rows", _outputs)


def _forward(x: Tensor, keep: Tensor) -> list[Tensor]:
    launch = dispatch.launcher(x, "gates.launch_rows")
    x = autograd.dense(x)
    copies = _outputs(x, keep)
    launch.split_rows(x, _of_each_image(keep, len(x)), copies)
    return copies


torch.library.impl("attnzoo::split_rows", ("CPU", "CUDA"), _forward)


def _gradient(gradients: Sequence[Tensor], keep: Tensor, channels_last: bool) -> Tensor:
    return torch.empty_like(gradients[0], memory_format=_FORMATS[channels_last])


torch.library.register_fake("attnzoo::split_rows_backward", _gradient)


def _backward(gradients: Sequence[Tensor], keep: Tensor, channels_last: bool) -> Tensor:
    launch = dispatch.launcher(gradients[0], "gates.launch_rows")
    dx = _gradient(gradients, keep, channels_last)
    launch.split_rows_backward([autograd.like(g, dx) for g in gradients], _of_each_image(keep, len(dx)), dx)
    return dx


torch.library.impl("attnzoo::split_rows_backward", ("CPU", "CUDA"), _backward)
autograd.differentiable_once("attnzoo::split_rows_backward")

_FORMATS = (torch.contiguous_format, torch.channels_last)


def _of_each_image(keep: Tensor, batch: int) -> Tensor:
    return keep.expand(-1, batch, -1).contiguous()


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Sequence[Tensor]) -> None:
    x, keep = inputs
    ctx.save_for_backward(keep)
    ctx.channels_last = not x.is_contiguous()


def _rule(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor, None]:
    (keep,) = ctx.saved_tensors
    if autograd.needs_reference(*gradients):
        kept = (torch.where(rows, g, 0) for rows, g in zip(keep[:, :, None, :, None], gradients, strict=True))
        return torch.stack(list(kept)).sum(0), None
    dx: Tensor = dispatch.operator("split_rows_backward", _backward)(list(gradients), keep, ctx.channels_last)
    return dx, None


torch.library.register_autograd("attnzoo::split_rows", _rule, setup_context=_save)


class _Split(torch.autograd.Function):
    """The operator with its autograd rule, without the time that torch's dispatcher takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor) -> tuple[Tensor, ...]:
        copies = dispatch.operator("split_rows", _forward)(x, keep)
        _save(ctx, (x, keep), copies)
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _rule(ctx, gradients)
