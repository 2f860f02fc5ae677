"""Multiply a map by gates in one pass.

The same pass can blend the gates with the identity, add the map itself or a residual block's shortcut, and apply a
ReLU.
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

    Without a blend, ``a = 1``: the factor is exactly the product of the gates. With ``a = 0`` the result is ``x`` bit
    for bit wherever the gates are finite. With ``residual`` the factor is ``prod(..) + a``.

    Then ``shortcut`` is added, and ``relu`` applied. The gradient is 0 where a ReLU's output is 0, as that of torch's
    ``relu``. ``x`` and the gates are saved for the backward pass; with both a shortcut and a ReLU also the output.

    Args:
        x: Map of any shape.
        gates: Gates that broadcast to ``x``, at least one. The kernels apply one gate (B, C, 1, 1), one (B, 1, H, W) or
            one of each to a map (B, C, H, W); torch applies all others.
        blend: Scalar ``a``: 0 is the identity, 1 the unblended gates.
        residual: Add ``a``, or 1 without a blend, to the product of the gates, as eq. (3) of TRA-Net does.
        shortcut: Map of the shape of ``x`` to add to the gated map.
        relu: Whether to apply a ReLU at the end.
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
        eligibility.choose("apply_gates", x, backend, unfit, others=(*gates, blend, shortcut)) == "torch"
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
    """Return the same as ``apply_gates``, computed by torch."""
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
"""Largest number of channels for ``_blended_by_norm``: exporters merge equal constants up to this size, so that a gate
which is blended twice is computed once."""


def blended(gate: Tensor, blend: Tensor | None) -> Tensor:
    """Return ``(1 - blend) + blend * gate``: 1 at a blend of 0, the gate at a blend of 1 or None, both exactly."""
    if blend is None:
        return gate
    by_norm = gate.dim() > 1 and gate.shape[1] <= _MERGED and gate.dtype == blend.dtype
    if by_norm and eligibility.exporting():
        return _blended_by_norm(gate, blend)
    return blend * gate + (1 - blend)


def _blended_by_norm(gate: Tensor, blend: Tensor) -> Tensor:
    """Return the same as ``blended`` by a batch norm of mean 0 and variance 1: one node of an ONNX graph, not two."""
    share = blend.expand(gate.shape[1])
    mean = share.detach() - share.detach()  # zeros computed from a weight: exporters fold them into a constant
    return F.batch_norm(gate, mean, mean + 1, share, 1 - share, training=False, eps=0.0)


def _check_gate(gate: Tensor, x: Tensor) -> None:
    missing = x.dim() - gate.dim()
    if missing < 0 or any(size not in (given, 1) for size, given in zip(gate.shape, x.shape[missing:], strict=True)):
        raise ValueError(f"gates must broadcast to x {tuple(x.shape)}, got one of shape {tuple(gate.shape)}")


class _Pair(NamedTuple):
    channel: Tensor | None
    spatial: Tensor | None


def _pair(x: Tensor, gates: Sequence[Tensor]) -> _Pair | None:
    """Return the gates as at most one channel gate and one spatial gate, or None if they have other shapes."""
    if x.dim() != 4 or len(gates) > 2:
        return None
    batch, channels, height, width = x.shape
    by_kind: dict[str, Tensor] = {}
    for gate in gates:
        if not gate.dtype.is_floating_point or gate.device != x.device:
            return None
        if "channel" not in by_kind and gate.shape == (batch, channels, 1, 1):
            by_kind["channel"] = gate
        elif "spatial" not in by_kind and gate.shape == (batch, 1, height, width):
            by_kind["spatial"] = gate
        else:
            return None
    return _Pair(by_kind.get("channel"), by_kind.get("spatial"))


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
            d_sum = dy if y is None else d_shortcut  # the gradient behind the ReLU
            total += _sum_of_products(d_sum, x, (channel, spatial, blend, relu and y is None))
        d_blend = total.float()
        d_channel *= blend
        d_spatial *= blend
    return dx, d_channel, d_spatial, d_blend, d_shortcut


def _sum_of_products(dy: Tensor, x: Tensor, masked: tuple[Tensor | None, Tensor | None, Tensor, bool]) -> Tensor:
    """Return the sum of ``dy * x``; with a ReLU, ``dy`` is 0 where its output is 0.

    It is computed as the gradient of a channel gate, so that the result does not depend on the number of threads.
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
    """Return the gates as the kernels read them: float32, (B, C) and (B, 1, H, W) or None."""
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

        gradients = autograd.reference_gradients(recompute, tensors, [through])
        return (*gradients, through if ctx.adds else None, None, None)
    x, channel, spatial, blend = tensors
    backward = dispatch.operator("apply_gates_backward", _backward)
    dx, *others, d_shortcut = backward(dy, x, channel, spatial, blend, y, ctx.residual, ctx.relu)
    shaped = (
        None if t is None else gradient.to(t.dtype).view(t.shape)
        for t, gradient in zip(tensors[1:], others, strict=True)
    )
    return (dx, *shaped, (dy if y is None else d_shortcut) if ctx.adds else None, None, None)


def _through(ctx: Any, tensors: Sequence[Any], dy: Tensor, y: Tensor | None) -> Tensor:
    """Return the gradient in front of the ReLU, differentiable in ``dy``."""
    if not ctx.relu:
        return dy
    if y is None:
        x, channel, spatial, blend = tensors
        with torch.no_grad():
            y = _gated(x, [gate for gate in (channel, spatial) if gate is not None], blend, ctx.residual)
    return dy.masked_fill(y.detach() <= 0, 0)


torch.library.register_autograd("attnzoo::apply_gates", _rule, setup_context=_save)


class _Apply(torch.autograd.Function):
    """The operator with its autograd rule, without the time that torch's dispatcher takes."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        y = dispatch.operator("apply_gates", _forward)(*inputs)
        _save(ctx, inputs, y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _rule(ctx, dy)
