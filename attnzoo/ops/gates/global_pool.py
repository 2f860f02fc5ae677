"""Average and maximum of each channel over all pixels, in one pass over the map."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnzoo.ops import autograd, dispatch, eligibility


class Pooled(NamedTuple):
    """What ``global_pool`` returns."""

    values: Tensor
    """(1, B, C) averages, or (2, B, C) averages and maxima; float32, float64 for a float64 map."""
    x: Tensor
    """The map, to be used in place of the input: the pool's backward pass then adds both gradients in one pass."""


def global_pool(x: Tensor, *, maximum: bool = True, backend: str | None = None) -> Pooled:
    """Pool a map over its pixels.

    Pixels that tie for the maximum share its gradient evenly, as in torch's ``amax``.

    Args:
        x: Floating map (B, C, H, W) with at least one pixel.
        maximum: Whether to compute the maxima in addition to the averages.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If ``x`` is no map with at least one pixel.
    """
    if x.dim() != 4 or x.shape[1] == 0 or x.shape[2] == 0 or x.shape[3] == 0:
        raise ValueError(f"x must be a map (B, C, H, W) with at least one pixel, got {tuple(x.shape)}")
    if eligibility.choose("global_pool", x, backend) == "torch":
        return Pooled(reference(x, maximum), x)
    return _pooled(x, maximum)


def _pooled(x: Tensor, maximum: bool) -> Pooled:
    """Return the same as ``global_pool``, computed by a kernel."""
    x = autograd.dense(x)
    if torch.is_grad_enabled() and x.requires_grad:
        return Pooled(*_Pool.apply(x, maximum))
    return Pooled(dispatch.operator("global_pool", _forward)(x, maximum, False)[0], x)


def averages_and_maxima(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the averages (B, C), the maxima (B, C) and the map, as ``global_pool`` does.

    The torch path does not stack the two, which saves four operations in exported graphs.
    """
    if eligibility.choose("global_pool", x, None) == "torch":
        return *_moments(x), x
    (average, maximum), x = _pooled(x, maximum=True)
    return average, maximum, x


def reference(x: Tensor, maximum: bool) -> Tensor:
    """Return the values of ``global_pool``, computed by torch."""
    return torch.stack(_moments(x)) if maximum else x.mean((2, 3), dtype=autograd.accumulator(x))[None]


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    sums = autograd.accumulator(x)
    maximum = x.amax((2, 3))
    return x.mean((2, 3), dtype=sums), maximum if maximum.dtype == sums else maximum.to(sums)


torch.library.define("attnzoo::global_pool", "(Tensor x, bool maximum, bool ties) -> (Tensor, Tensor)")
torch.library.define(
    "attnzoo::global_pool_backward",
    "(Tensor d_values, Tensor? carried, Tensor x, Tensor values, Tensor ties) -> Tensor",
)


def _outputs(x: Tensor, maximum: bool, ties: bool) -> tuple[Tensor, Tensor]:
    batch, channels = x.shape[:2]
    values = x.new_empty((2 if maximum else 1, batch, channels), dtype=torch.float32)
    return values, x.new_empty((batch, channels) if ties else (0,), dtype=torch.float32)


torch.library.register_fake("attnzoo::global_pool", _outputs)


def _forward(x: Tensor, maximum: bool, ties: bool) -> tuple[Tensor, Tensor]:
    launch = dispatch.launcher(x)
    x = autograd.dense(x)
    values, counts = _outputs(x, maximum, ties)
    launch.global_pool(x, values, counts if ties else None)
    return values, counts


torch.library.impl("attnzoo::global_pool", ("CPU", "CUDA"), _forward)


def _gradient(d_values: Tensor, carried: Tensor | None, x: Tensor, values: Tensor, ties: Tensor) -> Tensor:
    return torch.empty_like(x)


torch.library.register_fake("attnzoo::global_pool_backward", _gradient)


def _backward(d_values: Tensor, carried: Tensor | None, x: Tensor, values: Tensor, ties: Tensor) -> Tensor:
    launch = dispatch.launcher(x)
    x = autograd.dense(x)
    dx = torch.empty_like(x)
    carried = None if carried is None else autograd.like(carried, x)
    launch.global_pool_backward(x, carried, d_values.contiguous(), values, ties if len(values) == 2 else None, dx)
    return dx


torch.library.impl("attnzoo::global_pool_backward", ("CPU", "CUDA"), _backward)
autograd.differentiable_once("attnzoo::global_pool_backward")


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, maximum = inputs[:2]
    ctx.save_for_backward(*((x, *output) if maximum else ()))  # the averages' gradient does not depend on x
    ctx.shape, ctx.dtype = x.shape, x.dtype
    ctx.set_materialize_grads(False)


def _rule(ctx: Any, d_values: Tensor | None, carried: Tensor | None) -> Tensor | None:
    if d_values is None:
        return carried
    saved = ctx.saved_tensors  # read once: activation checkpointing allows no second read
    if not saved:
        return _gradient_of_averages(ctx, d_values, carried)
    x, values, ties = saved
    if autograd.needs_reference(d_values, carried):
        (direct,) = autograd.reference_gradients(lambda x: (reference(x, True),), [x], [d_values])
        return direct if direct is None or carried is None else direct + carried
    dx: Tensor = dispatch.operator("global_pool_backward", _backward)(d_values, carried, x, values, ties)
    return dx


def _gradient_of_averages(ctx: Any, d_values: Tensor, carried: Tensor | None) -> Tensor:
    if carried is None or autograd.needs_reference(d_values, carried):
        height, width = ctx.shape[2:]
        direct: Tensor = (d_values[0] / (height * width)).to(ctx.dtype)[:, :, None, None].expand(ctx.shape)
        return direct if carried is None else direct + carried
    nothing = d_values.new_empty(0)
    dx: Tensor = dispatch.operator("global_pool_backward", _backward)(d_values, carried, carried, d_values, nothing)
    return dx


torch.library.register_autograd(
    "attnzoo::global_pool", lambda ctx, d_values, _: (_rule(ctx, d_values, None), None, None), setup_context=_save
)


class _Pool(torch.autograd.Function):
    """The operator with the map as a second output, whose gradient the backward kernel adds in the same pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maximum: bool) -> tuple[Tensor, Tensor]:
        values, ties = dispatch.operator("global_pool", _forward)(x, maximum, maximum)
        _save(ctx, (x, maximum), (values, ties))
        return values, x

    @staticmethod
    def backward(ctx: Any, d_values: Tensor | None, carried: Tensor | None) -> tuple[Tensor | None, None]:
        return _rule(ctx, d_values, carried), None
