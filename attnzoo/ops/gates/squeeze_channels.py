"""Average and maximum of each pixel over its gated channels, without writing the gated map."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnzoo.ops import autograd, dispatch, eligibility


class Squeezed(NamedTuple):
    """What ``squeeze_channels`` returns."""

    planes: Tensor
    """(B, 2, H, W): averages and maxima; float32, float64 for a float64 map."""
    x: Tensor
    """The map, not gated, to be used in place of the input: the backward pass then adds both gradients in one pass."""


def squeeze_channels(x: Tensor, gate: Tensor | None = None, *, backend: str | None = None) -> Squeezed:
    """Pool ``x * gate`` over the channels.

    Channels that tie for the maximum share its gradient evenly, as in torch's ``amax``.

    Args:
        x: Floating map (B, C, H, W) with at least one channel.
        gate: Gate (B, C, 1, 1), or None to pool ``x`` itself.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape is wrong.
    """
    if x.dim() != 4 or x.shape[1] == 0:
        raise ValueError(f"x must be a map (B, C, H, W) with at least one channel, got {tuple(x.shape)}")
    if gate is not None and gate.shape != (*x.shape[:2], 1, 1):
        raise ValueError(f"gate must have shape {(*x.shape[:2], 1, 1)}, got {tuple(gate.shape)}")
    if eligibility.choose("squeeze_channels", x, backend, others=(gate,)) == "torch":
        return Squeezed(reference(x, gate), x)
    x = autograd.dense(x)
    if torch.is_grad_enabled() and (x.requires_grad or (gate is not None and gate.requires_grad)):
        return Squeezed(*_Squeeze.apply(x, gate))
    return Squeezed(dispatch.operator("squeeze_channels", _forward)(x, gate, False)[0], x)


def reference(x: Tensor, gate: Tensor | None) -> Tensor:
    """Return the planes of ``squeeze_channels``, computed by torch."""
    sums = autograd.accumulator(x)
    gated = x if gate is None else x * gate
    return torch.cat([gated.mean(1, keepdim=True, dtype=sums), gated.amax(1, keepdim=True).to(sums)], dim=1)


torch.library.define("attnzoo::squeeze_channels", "(Tensor x, Tensor? gate, bool ties) -> (Tensor, Tensor)")
torch.library.define(
    "attnzoo::squeeze_channels_backward",
    "(Tensor d_planes, Tensor? carried, Tensor x, Tensor? gate, Tensor planes, Tensor ties) -> (Tensor, Tensor)",
)


def _outputs(x: Tensor, gate: Tensor | None, ties: bool) -> tuple[Tensor, Tensor]:
    batch, _, height, width = x.shape
    planes = x.new_empty((batch, 2, height, width), dtype=torch.float32)
    return planes, x.new_empty((batch, height, width) if ties else (0,), dtype=torch.float32)


torch.library.register_fake("attnzoo::squeeze_channels", _outputs)


def _forward(x: Tensor, gate: Tensor | None, ties: bool) -> tuple[Tensor, Tensor]:
    launch = dispatch.launcher(x)
    x = autograd.dense(x)
    planes, counts = _outputs(x, gate, ties)
    launch.squeeze_channels(x, _flat(x, gate), planes, counts if ties else None)
    return planes, counts


torch.library.impl("attnzoo::squeeze_channels", ("CPU", "CUDA"), _forward)


def _gradients(
    d_planes: Tensor, carried: Tensor | None, x: Tensor, gate: Tensor | None, planes: Tensor, ties: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[:2], dtype=torch.float32)


torch.library.register_fake("attnzoo::squeeze_channels_backward", _gradients)


def _backward(
    d_planes: Tensor, carried: Tensor | None, x: Tensor, gate: Tensor | None, planes: Tensor, ties: Tensor
) -> tuple[Tensor, Tensor]:
    launch = dispatch.launcher(x)
    x = autograd.dense(x)
    dx, d_gate = _gradients(d_planes, carried, x, gate, planes, ties)
    carried = None if carried is None else autograd.like(carried, x)
    launch.squeeze_channels_backward(x, carried, _flat(x, gate), planes, ties, d_planes.contiguous(), dx, d_gate)
    return dx, d_gate


torch.library.impl("attnzoo::squeeze_channels_backward", ("CPU", "CUDA"), _backward)
autograd.differentiable_once("attnzoo::squeeze_channels_backward")


def _flat(x: Tensor, gate: Tensor | None) -> Tensor:
    if gate is None:
        return x.new_ones(x.shape[:2], dtype=torch.float32)
    return gate.reshape(x.shape[:2]).float().contiguous()


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, gate, *_ = inputs
    ctx.save_for_backward(x, gate, *output)
    ctx.set_materialize_grads(False)


def _rule(ctx: Any, d_planes: Tensor | None, carried: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    x, gate, planes, ties = ctx.saved_tensors
    if d_planes is None:
        return carried, None
    if autograd.needs_reference(d_planes, carried):
        dx, d_gate = autograd.reference_gradients(lambda *i: (reference(*i),), [x, gate], [d_planes])
        if carried is not None:
            dx = carried if dx is None else dx + carried
        return dx, d_gate
    dx, d_gate = dispatch.operator("squeeze_channels_backward", _backward)(d_planes, carried, x, gate, planes, ties)
    return dx, None if gate is None else d_gate.to(gate.dtype).view(gate.shape)


torch.library.register_autograd(
    "attnzoo::squeeze_channels", lambda ctx, d_planes, _: (*_rule(ctx, d_planes, None), None), setup_context=_save
)


class _Squeeze(torch.autograd.Function):
    """The operator with the map as a second output, whose gradient the backward kernel adds in the same pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
        planes, ties = dispatch.operator("squeeze_channels", _forward)(x, gate, True)
        _save(ctx, (x, gate), (planes, ties))
        return planes, x

    @staticmethod
    def backward(ctx: Any, d_planes: Tensor | None, carried: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return _rule(ctx, d_planes, carried)
