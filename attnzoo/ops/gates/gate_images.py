"""A whole channel and spatial gate, image by image, so that each image is read from memory as seldom as possible.

This is how ``SqueezeExcite`` and ``CBAM`` compute on the CPU, with gradients and without: one kernel each way. It is
what ``global_pool``, ``squeeze_channels``, ``spatial_conv`` and ``apply_gates`` compute one after the other; the
gradient of the map is written once where theirs is written three times.
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
from attnzoo.ops.gate_listener import listened, note_gates
from attnzoo.ops.gates.apply_gates import blended
from attnzoo.ops.gates.apply_gates import reference as applied
from attnzoo.ops.gates.global_pool import reference as pooled
from attnzoo.ops.gates.spatial_conv import reference as convolved
from attnzoo.ops.gates.squeeze_channels import reference as squeezed
from attnzoo.ops.reading import Record, Row, Table, call, read, table, why_not_read


@functools.cache
def _launch() -> ModuleType:
    """Import the kernels: from the second time on, faster than the statement."""
    from attnzoo.kernels.cpu.gates import launch_gates

    return launch_gates


PLAIN = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "padding_mode": "zeros"}
"""Options of a convolution that the kernels know."""
BOTTLENECK: Mapping[str, Row] = {
    "fc1": Row((nn.Conv2d,), ("weight", "bias"), required={"padding": (0, 0), **PLAIN}),
    "act": Row((nn.ReLU,)),
    "fc2": Row((nn.Conv2d,), ("weight", "bias"), required={"padding": (0, 0), **PLAIN}),
}
"""A channel gate: two 1x1 convolutions with a ReLU between them and a sigmoid behind."""
NORM = Row(
    (nn.BatchNorm2d,),
    ("weight", "bias"),
    ("running_mean", "running_var", "num_batches_tracked"),
    ("eps", "momentum", "training", "track_running_stats"),
)
"""The norm of a spatial gate."""


def convolution(size: int, norm: type[nn.Module]) -> dict[str, Row]:
    """Return the rows of a spatial gate: a ``size`` x ``size`` convolution of two planes to one, and a norm behind."""
    plain = {"padding": (size // 2, size // 2), **PLAIN}
    return {
        "conv": Row((nn.Conv2d,), ("weight", "bias"), required=plain),
        "norm": NORM if norm is nn.BatchNorm2d else Row((nn.Identity,)),
    }


class Gating(NamedTuple):
    """What a layer's gates are made of, beside the layer.

    Attributes:
        table: What the layer's modules must be, and what is read of them: a bottleneck, a convolution with its norm.
        channel: Whether there is a channel gate.
        maxima: Whether that looks at averages and maxima, summed behind the ReLU, or at averages only.
        spatial: Whether there is a spatial gate.
        normed: Whether a norm is behind its convolution.
        offset: What is added to the product of the gates: 1 or 0; with a blend it counts as much as they do.
        options: The same for the kernels.
    """

    table: Table
    channel: bool
    maxima: bool
    spatial: bool
    normed: bool
    offset: float
    options: bytes


OPTIONS = struct.Struct("=4qd")
"""``AttnzooGateOptions`` of gate_call.cpp: the middle ones of ``Gating``."""


def gating(
    rows: Mapping[str, Row], *, channel: bool, maxima: bool, spatial: bool, normed: bool, residual: bool
) -> Gating:
    """Return what a layer is made of: ``rows`` are those of its table; ``residual`` adds 1 to the gates' product."""
    parts = channel, maxima, spatial, normed, float(residual)
    return Gating(table(rows), *parts, OPTIONS.pack(*parts))


def gate_images(
    x: Tensor, layer: nn.Module, gating: Gating, *, blend: Tensor | None, in_place: bool = False
) -> Tensor | None:
    """Return ``x`` times the blended gates, as ``apply_gates`` does, or None where the modules must be called.

    A norm in training takes the batch into its running statistics. Nothing is kept from call to call, so that nothing
    can be stale: what the modules hold is read each time.

    Args:
        x: Map (B, C, H, W).
        layer: The layer, whose ``forward`` asks.
        gating: What it is made of.
        blend: How much of each gate counts, of shape () or (1,); None for all of it.
        in_place: Whether ``x`` may be overwritten, where no gradient is wanted.
    """
    if not _is_its_map(x, layer) or not dispatch.native_is_built():
        return None  # on other devices nothing of the CPU's kernels is asked or imported
    x = x if x.is_contiguous() else autograd.dense(x)
    parts, tensors = ((layer, gating.table),), (x, blend)
    if _leaves_more(layer, gating) or eligibility.is_noting():
        found: Tensor | Record | None = read(parts, tensors)
    else:
        found = call(_kernel(), gating.options, parts, tensors, in_place)
    if isinstance(found, Tensor):
        return found
    if found is not None:
        return _launched(x, layer, gating, found, in_place)
    if eligibility.is_noting():
        eligibility.note("gate_images", "torch", why_not_read(parts, tensors))
    return None


def _leaves_more(layer: nn.Module, gating: Gating) -> bool:
    """Tell whether more than the map is wanted of the kernel: running statistics, or gates for whoever listens."""
    return (gating.normed and layer.training) or listened()


def _launched(x: Tensor, layer: nn.Module, gating: Gating, found: Record, in_place: bool) -> Tensor | None:
    """Return what ``gate_images`` returns, of what was read, with a node of the graph where gradients are wanted."""
    record, held = found
    wants = torch.is_grad_enabled() and any([t is not None and t.requires_grad for t in held])  # noqa: C419 - sooner
    launch, hidden = _launch(), _hidden(gating, held)
    y = x if in_place and not wants else torch.empty_like(x)
    state = None
    if wants or _leaves_more(layer, gating):
        state = launch.gate_state(x, hidden, maxima=gating.maxima, spatial=gating.spatial)
    if not launch.gate_images(record, len(held), gating.options, y, state, wants):
        eligibility.note("gate_images", "torch", "a shape, a dtype or an order in memory is not what the kernel takes")
        return None
    eligibility.note("gate_images", "native", None)
    if wants:
        end = len(held) - (_STATISTICS if gating.normed else 0)
        kept = gating, held[end:], record[-_NUMBERS.size :]
        y = _Gate.apply(x, (y, state, kept), *held[1:end])
    if state is not None and listened():
        note_gates(layer, _gates(x, gating, held, state))
    return y


_STATISTICS = 3
"""How many tensors come last that have no gradient: mean, variance and count of a norm."""
_NUMBERS = struct.Struct("=4d")
"""A norm's: epsilon, momentum, whether it trains, whether its statistics follow."""


@functools.cache
def _kernel() -> int:
    """Return where the kernel is."""
    from attnzoo.kernels.cpu.library import address

    return address("gate_images")


def _is_its_map(x: object, layer: nn.Module) -> bool:
    """Tell whether this is a dense map on the CPU, of the layer's channels."""
    if not isinstance(x, Tensor) or not x.is_cpu or x.layout is not torch.strided:
        return False
    return x.dim() == 4 and x.shape[1] == layer.channels


def _hidden(gating: Gating, held: Sequence[Tensor | None]) -> int:
    """Return the width of the bottleneck; 0 where there is no channel gate."""
    reduce = held[2] if gating.channel else None
    return 0 if reduce is None else len(reduce)


class _Named(NamedTuple):
    """What was read beside the map, by name; None where there is none."""

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
    """Return by name what was read beside the map, without statistics."""
    before = () if gating.channel else (None,) * 4
    return _Named(rest[0], *before, *rest[1:])


def _gates(x: Tensor, gating: Gating, held: Sequence[Tensor | None], state: Tensor) -> dict[str, Tensor]:
    """Return the gates that were computed, by name."""
    kinds = {"maxima": gating.maxima, "spatial": gating.spatial}
    channel, logits = _launch().gates_in_state(state, x, _hidden(gating, held), **kinds)
    found = {} if channel is None else {"channel": channel}
    if logits is not None:
        named = _named(gating, held[1 : len(held) - (_STATISTICS if gating.normed else 0)])
        center, factor, _ = state[-3:]  # the bias is in the center
        logits = (logits - center) * factor
        logits = logits if named.gain is None else logits * named.gain
        found["spatial"] = (logits if named.shift is None else logits + named.shift).sigmoid()
    return found


Kept = tuple[Gating, tuple[Tensor | None, ...], bytes]
"""What a backward pass needs beside the tensors that gradients are taken of: what the layer is made of, and of its norm
the statistics and the numbers."""


def _reference(kept: Kept, state: Tensor, x: Tensor, *rest: Tensor | None) -> tuple[Tensor]:
    """Compute it by torch."""
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
    """The node of the graph; what is handed to it was computed before."""

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
        dx, gradients, found = None, list[Tensor | None](), None
        if not autograd.needs_reference(dy):
            wanted = zip(rest, ctx.needs_input_grad[2:], strict=True)
            gradients = [torch.empty_like(t) if wants and t is not None else None for t, wants in wanted]
            dx = torch.empty_like(x)
            nothing = (None,) * len(statistics)
            found = read((), (x, *rest, *statistics, autograd.like(dy, x), dx, *gradients, *nothing))
        if found is None:
            recompute = functools.partial(_reference, ctx.kept, state)
            dx, *gradients = autograd.reference_gradients(recompute, [x, *rest], [dy])
        else:
            record, held = found
            _launch().gate_images_backward(record + numbers, len(held), gating.options, state)
        return dx, None, *gradients
