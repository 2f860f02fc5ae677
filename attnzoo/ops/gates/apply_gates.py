"""Multiply a map by gates, optionally blended with the identity or added to the map itself, in one pass.

In a residual block the shortcut's addition and the ReLU behind it are part of the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import autograd, dispatch, eligibility


def apply_gates(
    x: Tensor,
    gates: Sequence[Tensor],
    *,
    blend: Tensor | None = None,
    residual: bool = False,
    shortcut: Tensor | None = None,
    relu: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Return ``x`` times the product of the gates, each blended with 1: ``x * prod((1 - a) + a * g)``.

    Without a blend, ``a = 1``: the product of the gates themselves, exactly. ``a = 0`` returns ``x`` bit for bit
    wherever the gates are finite. With ``residual`` the factor is ``prod(..) + a``. The blend costs no pass over ``x``.

    With a shortcut this is added, with ``relu`` the sum goes through one: what stands behind the gate in a residual
    block. The gradient is 0 where the output is 0, as that of torch's ``relu``. For the backward pass are kept ``x``,
    the gates and, where both are asked for, the output.

    Args:
        x: Map of any shape.
        gates: Gates that broadcast to ``x``, at least one. Of a map (B, C, H, W), one gate (B, C, 1, 1), one
            (B, 1, H, W) or one of each are applied by the native kernels, all others by torch.
        blend: Scalar ``a``: 0 is the identity, 1 the plain gates.
        residual: Add ``a`` to the product of the gates, without a blend 1, as eq. (3) of TRA-Net does.
        shortcut: Map of the shape of ``x`` that is added behind the gate.
        relu: Whether a ReLU follows.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        A tensor of the shape and dtype of ``x``.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If there is no gate, one does not broadcast to ``x``, or the shortcut has another shape.
    """
    if not gates:
        raise ValueError(f"gates must hold at least one tensor, got {gates!r}")
    for gate in gates:
        _check_gate(gate, x)
    if shortcut is not None and shortcut.shape != x.shape:
        raise ValueError(f"shortcut must have the shape of x {tuple(x.shape)}, got {tuple(shortcut.shape)}")
    pair = _pair(x, gates)
    unfit = None if pair else "gates must be one (B, C, 1, 1), one (B, 1, H, W) or one of each"
    if shortcut is not None and shortcut.dtype != x.dtype:
        unfit = f"shortcut must have the dtype of x, {x.dtype}, got {shortcut.dtype}"
    if (
        eligibility.choose("apply_gates", x, backend, unfit, beside=(*gates, blend, shortcut)) == "torch"
        or pair is None
    ):
        return reference(x, gates, blend, residual, shortcut, relu)
    inputs = (autograd.dense(x), *pair, blend, shortcut, residual, relu)
    if torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        y: Tensor = _Apply.apply(*inputs)
        return y
    return dispatch.operator("apply_gates", _forward)(*inputs)


def reference(
    x: Tensor, gates: Sequence[Tensor], blend: Tensor | None, residual: bool, shortcut: Tensor | None, relu: bool
) -> Tensor:
    """Compute it by torch."""
    y = _gated(x, gates, blend, residual)
    if shortcut is not None:
        y = (y + shortcut).to(x.dtype)
    return F.relu(y) if relu else y


def _gated(x: Tensor, gates: Sequence[Tensor], blend: Tensor | None, residual: bool) -> Tensor:
    if blend is not None:
        gates = [blended(gate, blend) for gate in gates]
    first, *others = gates
    if not residual:
        gated = x * first
        for gate in others:
            gated = gated * gate
        return gated.to(x.dtype)
    factor = first
    for gate in others:
        factor = factor * gate
    return x * (factor + (1 if blend is None else blend)).to(x.dtype)


_MERGED = 1024
"""Up to so many numbers equal constants are one in an exported file: a gate that is blended twice is computed once."""


def blended(gate: Tensor, blend: Tensor | None) -> Tensor:
    """Return ``(1 - blend) + blend * gate``: 1 at a blend of 0, the gate at a blend of 1 or None, both exactly."""
    if blend is None:
        return gate
    by_norm = gate.dim() > 1 and gate.shape[1] <= _MERGED and gate.dtype == blend.dtype
    if by_norm and eligibility.exporting():
        return _blended_by_norm(gate, blend)
    return blend * gate + (1 - blend)


def _blended_by_norm(gate: Tensor, blend: Tensor) -> Tensor:
    """Return the same by a norm of average 0 and variance 1: one node in other runtimes' files, where these are two."""
    share = blend.expand(gate.shape[1])
    average = share.detach() - share.detach()  # made of a weight: exporters compute what is made of weights alone
    return F.batch_norm(gate, average, average + 1, share, 1 - share, training=False, eps=0.0)


def _check_gate(gate: Tensor, x: Tensor) -> None:
    missing = x.dim() - gate.dim()
    if missing < 0 or any(size not in (given, 1) for size, given in zip(gate.shape, x.shape[missing:], strict=True)):
        raise ValueError(f"gates must broadcast to x {tuple(x.shape)}, got one of shape {tuple(gate.shape)}")


class _Pair(NamedTuple):
    channel: Tensor | None
    spatial: Tensor | None


def _pair(x: Tensor, gates: Sequence[Tensor]) -> _Pair | None:
    """Return the gates as one of channels and one of pixels, or None if they are anything else."""
    if x.dim() != 4 or len(gates) > 2:
        return None
    batch, channels, height, width = x.shape
    found: dict[str, Tensor] = {}
    for gate in gates:
        if not gate.dtype.is_floating_point or gate.device != x.device:
            return None
        if "channel" not in found and gate.shape == (batch, channels, 1, 1):
            found["channel"] = gate
        elif "spatial" not in found and gate.shape == (batch, 1, height, width):
            found["spatial"] = gate
        else:
            return None
    return _Pair(found.get("channel"), found.get("spatial"))


torch.library.define(
    "attnzoo::apply_gates",
    "(Tensor x, Tensor? channel, Tensor? spatial, Tensor? blend, Tensor? shortcut, bool residual, bool relu) -> Tensor",
)
torch.library.define(
    "attnzoo::apply_gates_backward",
    "(Tensor dy, Tensor x, Tensor? channel, Tensor? spatial, Tensor? blend, Tensor? y, bool residual, bool relu)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def _output(
    x: Tensor,
    channel: Tensor | None,
    spatial: Tensor | None,
    blend: Tensor | None,
    shortcut: Tensor | None,
    residual: bool,
    relu: bool,
) -> Tensor:
    return torch.empty_like(x)


torch.library.register_fake("attnzoo::apply_gates", _output)


def _forward(
    x: Tensor,
    channel: Tensor | None,
    spatial: Tensor | None,
    blend: Tensor | None,
    shortcut: Tensor | None,
    residual: bool,
    relu: bool,
) -> Tensor:
    launch = dispatch.launcher(x)
    x = autograd.dense(x)
    y = torch.empty_like(x)
    added = None if shortcut is None else autograd.like(shortcut, x)
    launch.apply_gates(x, *_flat(x, channel, spatial), blend, residual, added, relu, y)
    return y


torch.library.impl("attnzoo::apply_gates", ("CPU", "CUDA"), _forward)


def _gradients(
    dy: Tensor,
    x: Tensor,
    channel: Tensor | None,
    spatial: Tensor | None,
    blend: Tensor | None,
    y: Tensor | None,
    residual: bool,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, channels, height, width = x.shape
    d_channel = x.new_empty((batch, channels), dtype=torch.float32)
    d_spatial = x.new_empty((0,) if spatial is None else (batch, 1, height, width), dtype=torch.float32)
    d_blend = x.new_empty((0,) if blend is None else (), dtype=torch.float32)
    return torch.empty_like(x), d_channel, d_spatial, d_blend, x.new_empty(0) if y is None else torch.empty_like(x)


torch.library.register_fake("attnzoo::apply_gates_backward", _gradients)


def _backward(
    dy: Tensor,
    x: Tensor,
    channel: Tensor | None,
    spatial: Tensor | None,
    blend: Tensor | None,
    y: Tensor | None,
    residual: bool,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    launch = dispatch.launcher(x)
    x = autograd.dense(x)
    dx, d_channel, d_spatial, d_blend, d_shortcut = _gradients(dy, x, channel, spatial, blend, y, residual, relu)
    gates = _flat(x, channel, spatial)
    through = (None, relu) if y is None else (autograd.like(y, x), relu)
    outputs = (dx, d_channel, None if spatial is None else d_spatial, None if y is None else d_shortcut)
    launch.apply_gates_backward(autograd.like(dy, x), x, *gates, blend, residual, *through, *outputs)
    if blend is not None:
        total = (d_channel * (gates[0] - 1)).sum(dtype=torch.float64)
        if gates[1] is not None:
            total += (d_spatial * (gates[1] - 1)).sum(dtype=torch.float64)
        if residual:
            arrived = dy if y is None else d_shortcut
            total += _sum_of_products(arrived, x, (channel, spatial, blend, relu and y is None))
        d_blend = total.float()
        d_channel *= blend
        d_spatial *= blend
    return dx, d_channel, d_spatial, d_blend, d_shortcut


def _sum_of_products(dy: Tensor, x: Tensor, masked: tuple[Tensor | None, Tensor | None, Tensor, bool]) -> Tensor:
    """Return the sum of ``dy * x``, of ``dy`` as it comes through the ReLU if there is one.

    It is the same on any number of threads, as the gradient of a gate that every channel has.
    """
    channel, spatial, blend, relu = masked
    if relu:
        dy = dy.masked_fill(_forward(x, channel, spatial, blend, None, residual=True, relu=True) <= 0, 0)
    ones, sums = x.new_ones(x.shape[:2], dtype=torch.float32), x.new_empty(x.shape[:2], dtype=torch.float32)
    options = (None, False, None, False)
    launch = dispatch.launcher(x)
    launch.apply_gates_backward(autograd.like(dy, x), x, ones, None, *options, torch.empty_like(x), sums, None, None)
    return sums.sum(dtype=torch.float64)


torch.library.impl("attnzoo::apply_gates_backward", ("CPU", "CUDA"), _backward)
autograd.differentiable_once("attnzoo::apply_gates_backward")


def _flat(x: Tensor, channel: Tensor | None, spatial: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the gates as the kernels read them."""
    if channel is None:
        channel = x.new_ones(x.shape[:2], dtype=torch.float32)
    return (
        channel.reshape(x.shape[:2]).float().contiguous(),
        None if spatial is None else spatial.float().contiguous(),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, shortcut, ctx.residual, ctx.relu = inputs
    ctx.adds = shortcut is not None
    ctx.save_for_backward(*tensors, output if ctx.adds and ctx.relu else None)


def _rule(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, y = ctx.saved_tensors
    if autograd.needs_reference(dy):
        through = _through(ctx, tensors, dy, y)

        def recompute(x: Tensor, channel: Tensor | None, spatial: Tensor | None, blend: Tensor | None) -> tuple[Tensor]:
            gates = [gate for gate in (channel, spatial) if gate is not None]
            return (_gated(x, gates, blend, ctx.residual),)

        found = autograd.reference_gradients(recompute, tensors, [through])
        return (*found, through if ctx.adds else None, None, None)
    x, channel, spatial, blend = tensors
    backward = dispatch.operator("apply_gates_backward", _backward)
    dx, *others, d_shortcut = backward(dy, x, channel, spatial, blend, y, ctx.residual, ctx.relu)
    shaped = (
        None if t is None else gradient.to(t.dtype).view(t.shape)
        for t, gradient in zip(tensors[1:], others, strict=True)
    )
    return (dx, *shaped, (dy if y is None else d_shortcut) if ctx.adds else None, None, None)


def _through(ctx: Any, tensors: Sequence[Any], dy: Tensor, y: Tensor | None) -> Tensor:
    """Return what of ``dy`` comes through the ReLU, differentiable in ``dy``: the mask has no derivative."""
    if not ctx.relu:
        return dy
    if y is None:
        x, channel, spatial, blend = tensors
        with torch.no_grad():
            y = _gated(x, [gate for gate in (channel, spatial) if gate is not None], blend, ctx.residual)
    return dy.masked_fill(y.detach() <= 0, 0)


torch.library.register_autograd("attnzoo::apply_gates", _rule, setup_context=_save)


class _Apply(torch.autograd.Function):
    """The operator's rule without the dispatcher's share of the time."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        y = dispatch.operator("apply_gates", _forward)(*inputs)
        _save(ctx, inputs, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _rule(ctx, dy)
