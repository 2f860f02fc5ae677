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
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.ops import autograd, dispatch, eligibility
from attnzoo.ops.apply_gates import blended
from attnzoo.ops.apply_gates import reference as applied
from attnzoo.ops.gate_listener import listened, note_gates
from attnzoo.ops.global_pool import reference as pooled
from attnzoo.ops.reading import Row, Table, read, why_not_read
from attnzoo.ops.spatial_conv import reference as convolved
from attnzoo.ops.squeeze_channels import reference as squeezed

if TYPE_CHECKING:
    from attnzoo.kernels.cpu.launch_gates import Options, Weights


@functools.cache
def _launch() -> ModuleType:
    """Import the kernels: from the second time on, faster than the statement."""
    from attnzoo.kernels.cpu import launch_gates

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
    """

    table: Table
    channel: bool
    maxima: bool
    spatial: bool
    normed: bool


def gate_images(
    x: Tensor,
    layer: nn.Module,
    gating: Gating,
    *,
    residual: bool,
    blend: Tensor | None,
    in_place: bool = False,
) -> Tensor | None:
    """Return ``x`` times the blended gates, as ``apply_gates`` does, or None where the modules must be called.

    A norm in training takes the batch into its running statistics. Nothing is kept from call to call, so that nothing
    can be stale: what the modules hold is read each time.

    Args:
        x: Map (B, C, H, W).
        layer: The layer, whose ``forward`` asks.
        gating: What it is made of.
        residual: Add 1 to the product of the gates, or the blend.
        blend: How much of each gate counts, of shape () or (1,); None for all of it.
        in_place: Whether ``x`` may be overwritten, where no gradient is wanted.
    """
    if not _is_its_map(x, layer) or not dispatch.native_is_built():
        return None  # on other devices nothing of the CPU's kernels is asked or imported
    x = x if x.is_contiguous() else autograd.dense(x)
    parts = ((layer, gating.table),)
    found = read(parts, (x, blend))
    if found is None:
        if eligibility.is_noting():
            eligibility.note("gate_images", "torch", why_not_read(parts, (x, blend)))
        return None
    record, held = found
    wants = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in held)
    listens = listened()
    launch = _launch()
    y = x if in_place and not wants else torch.empty_like(x)
    state = contents = None
    if wants or listens or (gating.normed and layer.training):
        contents = _contents(launch, gating, held, record, float(residual))
        state = launch.gate_state(x, *contents)
    request = (*gating[1:], float(residual))
    if not launch.gate_call(record, len(held), request, wants, state, y):
        eligibility.note("gate_images", "torch", "a shape, a dtype or an order in memory is not what the kernel takes")
        return None
    eligibility.note("gate_images", "native", None)
    if contents is None or state is None:
        return y
    weights, options = contents
    if wants:
        y = _Gate.apply(x, (y, state, options), *weights)
    if listens:
        note_gates(layer, _gates(x, weights, options, state))
    return y


def _is_its_map(x: object, layer: nn.Module) -> bool:
    """Tell whether this is a dense map on the CPU, of the layer's channels."""
    if not isinstance(x, Tensor) or not x.is_cpu or x.layout is not torch.strided:
        return False
    return x.dim() == 4 and x.shape[1] == layer.channels


def _contents(
    launch: ModuleType, gating: Gating, held: Sequence[Tensor | None], record: bytes, offset: float
) -> tuple[Weights, Options]:
    """Return what was read, by name."""
    rest = list(held[2:])
    reduce, reduce_bias, expand, expand_bias = (rest.pop(0) for _ in range(4)) if gating.channel else [None] * 4
    weight, bias = (rest.pop(0) for _ in range(2)) if gating.spatial else [None] * 2
    gain, shift, mean, variance, tracked = rest if gating.normed else [None] * 5
    norm = None
    if gating.normed:
        epsilon, momentum, trains, follows = struct.unpack("=4d", record[-32:])
        batch = bool(trains) or mean is None
        if batch and not (trains and follows):
            mean = variance = tracked = None
        norm = launch.Norm(batch, mean, variance, tracked, momentum, epsilon)
    weights = launch.Weights(reduce, expand, reduce_bias, expand_bias, weight, bias, gain, shift, held[1])
    return weights, launch.Options(gating.maxima, offset, norm)


def _gates(x: Tensor, weights: Weights, options: Options, state: Tensor) -> dict[str, Tensor]:
    """Return the gates that were computed, by name."""
    channel, logits = _launch().gates_in_state(x, weights, options, state)
    found = {} if channel is None else {"channel": channel}
    if logits is not None:
        center, factor, _ = state[-3:]  # the bias is in the center
        logits = (logits - center) * factor
        logits = logits if weights.gain is None else logits * weights.gain
        found["spatial"] = (logits if weights.shift is None else logits + weights.shift).sigmoid()
    return found


def _backward(
    dy: Tensor, x: Tensor, weights: Weights, options: Options, state: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    dx = torch.empty_like(x)
    found = [torch.empty_like(t) if wants and t is not None else None for t, wants in zip(weights, wanted, strict=True)]
    launch = _launch()
    launch.gate_images_backward(autograd.like(dy, x), x, weights, options, state, dx, launch.Weights._make(found))
    return dx, *found


def _reference(
    options: Options,
    state: Tensor,
    x: Tensor,
    reduce: Tensor | None,
    expand: Tensor | None,
    reduce_bias: Tensor | None,
    expand_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
    blend: Tensor | None,
) -> tuple[Tensor]:
    """Compute it by torch."""
    gates: list[Tensor] = []
    norm = options.norm
    if reduce is not None and expand is not None:
        vectors = pooled(x, options.maxima)
        inner = F.relu(_linear(vectors, reduce, reduce_bias))
        gates.append(_linear(inner, expand, expand_bias).sum(0).sigmoid()[:, :, None, None])
    if weight is not None:
        gate = gates[0] if gates else None
        gate = gate if gate is None or blend is None else blended(gate, blend)
        logits = convolved(squeezed(x, gate), weight, bias)
        if norm is not None and norm.batch:
            gain, shift = _as(logits, gain, shift)
            logits = F.batch_norm(logits, None, None, gain, shift, True, 0, norm.epsilon)
        elif norm is not None:
            center, factor = state[-3], state[-2]
            logits = (logits - (center if bias is None else center + bias.detach())) * factor
            logits = logits if gain is None else logits * gain
            logits = logits if shift is None else logits + shift
        gates.append(logits.sigmoid())
    return (applied(x, gates, blend, bool(options.offset), None, False),)


def _linear(vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(vectors, weight.flatten(1).to(vectors.dtype), _as(vectors, bias)[0])


def _as(like: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.to(like.dtype) for t in tensors]


class _Gate(torch.autograd.Function):
    """The node of the graph; what is handed to it was computed before."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, computed: tuple[Any, ...], *weights: Tensor | None) -> Tensor:
        y: Tensor
        y, state, ctx.options = computed
        ctx.save_for_backward(x, *weights, state)
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *weights, state = ctx.saved_tensors
        if dy is None:
            return (None,) * (2 + len(weights))
        launch, options = _launch(), ctx.options
        if autograd.needs_reference(dy):
            recompute = lambda *inputs: _reference(options, state, *inputs)  # noqa: E731
            d_x, *d_weights = autograd.reference_gradients(recompute, [x, *weights], [dy])
            return d_x, None, *d_weights
        found = _backward(dy, x, launch.Weights._make(weights), options, state, ctx.needs_input_grad[2:])
        return found[0], None, *found[1:]
