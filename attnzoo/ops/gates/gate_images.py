"""A whole channel and spatial gate in one kernel, image by image, so that an image stays in the cache between steps.

``SqueezeExcite`` and ``CBAM`` use it on the CPU: one kernel forward, one backward. It computes the same as
``global_pool``, ``squeeze_channels``, ``spatial_conv`` and ``apply_gates`` one after the other, but writes the map's
gradient once instead of three times.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.ops import autograd, dispatch, eligibility
from attnzoo.ops.gate_listener import has_listener, note_gates
from attnzoo.ops.gates.apply_gates import blended
from attnzoo.ops.gates.apply_gates import reference as applied
from attnzoo.ops.gates.global_pool import reference as pooled
from attnzoo.ops.gates.spatial_conv import reference as convolved
from attnzoo.ops.gates.squeeze_channels import reference as squeezed
from attnzoo.ops.reading import Record, Row, Table, call, read, table, why_not_read


@functools.cache
def _launch() -> ModuleType:
    """Return the module that launches the kernels; cached, because an import statement at each call is slower."""
    from attnzoo.kernels.cpu.gates import launch_gates

    return launch_gates


PLAIN = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "padding_mode": "zeros"}
"""The options of a convolution that the kernels support."""
BOTTLENECK: Mapping[str, Row] = {
    "fc1": Row((nn.Conv2d,), ("weight", "bias"), required={"padding": (0, 0), **PLAIN}),
    "act": Row((nn.ReLU,)),
    "fc2": Row((nn.Conv2d,), ("weight", "bias"), required={"padding": (0, 0), **PLAIN}),
}
"""Rows of a channel gate's bottleneck: two 1x1 convolutions with a ReLU between them."""
NORM = Row(
    (nn.BatchNorm2d,),
    ("weight", "bias"),
    ("running_mean", "running_var", "num_batches_tracked"),
    ("eps", "momentum", "training", "track_running_stats"),
)
"""Row of a spatial gate's batch norm."""


def convolution(size: int, norm: type[nn.Module]) -> dict[str, Row]:
    """Return the rows of a spatial gate: a ``size`` x ``size`` convolution of two planes to one, then a norm."""
    plain = {"padding": (size // 2, size // 2), **PLAIN}
    return {
        "conv": Row((nn.Conv2d,), ("weight", "bias"), required=plain),
        "norm": NORM if norm is nn.BatchNorm2d else Row((nn.Identity,)),
    }


class Gating(NamedTuple):
    """The gates of a layer, as the kernel needs to know them.

    Attributes:
        table: The table of the layer's modules: a bottleneck, a convolution with its norm, or both.
        channel: Whether there is a channel gate.
        maxima: Whether the channel gate uses averages and maxima, added after the ReLU, or averages only.
        spatial: Whether there is a spatial gate.
        normed: Whether a batch norm follows the spatial gate's convolution.
        offset: What is added to the product of the gates, 1 or 0; a blend multiplies it.
        options: The same five values, packed for the kernels.
    """

    table: Table
    channel: bool
    maxima: bool
    spatial: bool
    normed: bool
    offset: float
    options: bytes


OPTIONS = struct.Struct("=4qd")
"""``AttnzooGateOptions`` of gate_call.cpp: ``channel`` to ``offset`` of ``Gating``."""


def gating(
    rows: Mapping[str, Row], *, channel: bool, maxima: bool, spatial: bool, normed: bool, residual: bool
) -> Gating:
    """Return the ``Gating`` of a layer with the table ``rows``; ``residual`` adds 1 to the product of the gates."""
    parts = channel, maxima, spatial, normed, float(residual)
    return Gating(table(rows), *parts, OPTIONS.pack(*parts))


def gate_images(
    x: Tensor, layer: nn.Module, gating: Gating, *, blend: Tensor | None, in_place: bool = False
) -> Tensor | None:
    """Return ``x`` times the blended gates, as ``apply_gates`` does, or None where the modules must be called.

    A norm in training mode updates its running statistics. Nothing is cached: the modules are read at each call.

    Args:
        x: Map (B, C, H, W).
        layer: The layer that calls this in its ``forward``.
        gating: The layer's gates.
        blend: Scalar ``a``, of shape () or (1,): each gate counts as ``(1 - a) + a * gate``; None is 1.
        in_place: Whether ``x`` may be overwritten if no gradient is required.
    """
    if not _is_cpu_map_of(layer, x) or not dispatch.native_is_built():
        return None
    x = x if x.is_contiguous() else autograd.dense(x)
    parts, tensors = ((layer, gating.table),), (x, blend)
    if _needs_state(layer, gating) or eligibility.is_noting():
        result: Tensor | Record | None = read(parts, tensors)
    else:
        result = call(_kernel(), gating.options, parts, tensors, in_place)
    if isinstance(result, Tensor):
        return result
    if result is not None:
        return _launched(x, layer, gating, result, in_place)
    if eligibility.is_noting():
        eligibility.note("gate_images", "torch", why_not_read(parts, tensors))
    return None


def _needs_state(layer: nn.Module, gating: Gating) -> bool:
    """Tell whether the kernel must also return running statistics, or the gates for a listener."""
    return (gating.normed and layer.training) or has_listener()


def _launched(x: Tensor, layer: nn.Module, gating: Gating, values: Record, in_place: bool) -> Tensor | None:
    """Run the kernel on the values that ``read`` returned; return its output, in autograd's graph if a tensor needs it.

    None if the kernel cannot take these tensors.
    """
    record, tensors = values
    needs_grad = torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in tensors])  # noqa: C419 - faster
    launch, hidden = _launch(), _hidden(gating, tensors)
    y = x if in_place and not needs_grad else torch.empty_like(x)
    state = None
    if needs_grad or _needs_state(layer, gating):
        state = launch.gate_state(x, hidden, maxima=gating.maxima, spatial=gating.spatial)
    if not launch.gate_images(record, len(tensors), gating.options, y, state, needs_grad):
        eligibility.note("gate_images", "torch", "a shape, a dtype or an order in memory is not what the kernel takes")
        return None
    eligibility.note("gate_images", "native", None)
    if needs_grad:
        end = len(tensors) - (_STATISTICS if gating.normed else 0)
        kept = gating, tensors[end:], record[-_NUMBERS.size :]
        y = _Gate.apply(x, (y, state, kept), *tensors[1:end])
    if state is not None and has_listener():
        note_gates(layer, _gates(x, gating, tensors, state))
    return y


_STATISTICS = 3
"""Number of a norm's tensors without gradients, which come last in the record: mean, variance and batch count."""
_NUMBERS = struct.Struct("=4d")
"""A norm's numbers: ``eps``, ``momentum``, ``training``, ``track_running_stats``."""


@functools.cache
def _kernel() -> int:
    """Return the kernel's address."""
    from attnzoo.kernels.cpu.library import address

    return address("gate_images")


def _is_cpu_map_of(layer: nn.Module, x: object) -> bool:
    """Tell whether ``x`` is a dense CPU map (B, C, H, W) with the layer's number of channels."""
    if not isinstance(x, Tensor) or not x.is_cpu or x.layout is not torch.strided:
        return False
    return x.dim() == 4 and x.shape[1] == layer.channels


def _hidden(gating: Gating, tensors: Sequence[Tensor | None]) -> int:
    """Return the width of the bottleneck, or 0 without a channel gate."""
    reduce = tensors[2] if gating.channel else None
    return 0 if reduce is None else len(reduce)


class _Named(NamedTuple):
    """The tensors of the record after the map, without statistics, by name; None for those that the layer lacks."""

    blend: Tensor | None
    reduce: Tensor | None = None
    reduce_bias: Tensor | None = None
    expand: Tensor | None = None
    expand_bias: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    gain: Tensor | None = None
    shift: Tensor | None = None


def _named(gating: Gating, rest: Sequence[Tensor | None]) -> _Named:
    """Return the tensors of the record after the map, without statistics, by name."""
    before = () if gating.channel else (None,) * 4
    return _Named(rest[0], *before, *rest[1:])


def _gates(x: Tensor, gating: Gating, tensors: Sequence[Tensor | None], state: Tensor) -> dict[str, Tensor]:
    """Return the gates that the kernel left in its state, by name."""
    kinds = {"maxima": gating.maxima, "spatial": gating.spatial}
    channel, logits = _launch().gates_in_state(state, x, _hidden(gating, tensors), **kinds)
    gates = {} if channel is None else {"channel": channel}
    if logits is not None:
        named = _named(gating, tensors[1 : len(tensors) - (_STATISTICS if gating.normed else 0)])
        center, factor, _ = state[-3:]  # the center includes the convolution's bias
        logits = (logits - center) * factor
        logits = logits if named.gain is None else logits * named.gain
        gates["spatial"] = (logits if named.shift is None else logits + named.shift).sigmoid()
    return gates


Kept = tuple[Gating, tuple[Tensor | None, ...], bytes]
"""What the backward pass needs besides the differentiable tensors: the layer's gates, its norm's statistics, and the
norm's packed numbers."""


def _reference(kept: Kept, state: Tensor, x: Tensor, *rest: Tensor | None) -> tuple[Tensor]:
    """Return the gated map, computed by torch, to be differentiated."""
    gating, statistics, numbers = kept
    named = _named(gating, rest)
    gates: list[Tensor] = []
    if named.reduce is not None and named.expand is not None:
        inner = F.relu(_linear(pooled(x, gating.maxima), named.reduce, named.reduce_bias))
        gates.append(_linear(inner, named.expand, named.expand_bias).sum(0).sigmoid()[:, :, None, None])
    if named.weight is not None:
        gate = gates[0] if gates else None
        gate = gate if gate is None or named.blend is None else blended(gate, named.blend)
        logits, bias = convolved(squeezed(x, gate), named.weight, named.bias), named.bias
        gain, shift = _as(logits, named.gain, named.shift)
        epsilon, _, trains, _ = _NUMBERS.unpack(numbers) if gating.normed else (0.0,) * 4
        if gating.normed and (trains or statistics[0] is None):
            logits = F.batch_norm(logits, None, None, gain, shift, True, 0, epsilon)
        elif gating.normed:
            center, factor = state[-3], state[-2]
            logits = (logits - (center if bias is None else center + bias.detach())) * factor
            logits = logits if gain is None else logits * gain
            logits = logits if shift is None else logits + shift
        gates.append(logits.sigmoid())
    return (applied(x, gates, named.blend, bool(gating.offset), None, False),)


def _linear(vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(vectors, weight.flatten(1).to(vectors.dtype), _as(vectors, bias)[0])


def _as(like: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.to(like.dtype) for t in tensors]


class _Gate(torch.autograd.Function):
    """The autograd node of ``gate_images``: the forward kernel has run before, and its results are passed in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, computed: tuple[Tensor, Tensor, Kept], *rest: Tensor | None) -> Tensor:
        y, state, ctx.kept = computed
        ctx.save_for_backward(x, state, *rest)
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        x, state, *rest = ctx.saved_tensors
        if dy is None:
            return (None,) * (2 + len(rest))
        gating, statistics, numbers = ctx.kept
        dx, gradients, readable = None, list[Tensor | None](), None
        if not autograd.needs_reference(dy):
            wanted = zip(rest, ctx.needs_input_grad[2:], strict=True)
            gradients = [torch.empty_like(t) if wants and t is not None else None for t, wants in wanted]
            dx = torch.empty_like(x)
            nothing = (None,) * len(statistics)
            readable = read((), (x, *rest, *statistics, autograd.like(dy, x), dx, *gradients, *nothing))
        if readable is None:
            recompute = functools.partial(_reference, ctx.kept, state)
            dx, *gradients = autograd.reference_gradients(recompute, [x, *rest], [dy])
        else:
            record, tensors = readable
            _launch().gate_images_backward(record + numbers, len(tensors), gating.options, state)
        return dx, None, *gradients
