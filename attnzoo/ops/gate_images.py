"""A whole channel and spatial gate, image by image, so that each image is read from memory as seldom as possible.

This is how ``SqueezeExcite`` and ``CBAM`` compute on the CPU, with gradients and without: one kernel each way. It is
what ``global_pool``, ``squeeze_channels``, ``spatial_conv`` and ``apply_gates`` compute one after the other; the
gradient of the map is written once where theirs is written three times.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import checks
from attnzoo.ops import autograd, dispatch, eligibility
from attnzoo.ops.apply_gates import blended
from attnzoo.ops.apply_gates import reference as applied
from attnzoo.ops.gate_listener import listened, note_gates
from attnzoo.ops.global_pool import reference as pooled
from attnzoo.ops.named import make
from attnzoo.ops.spatial_conv import NATIVE_SIZES
from attnzoo.ops.spatial_conv import reference as convolved
from attnzoo.ops.squeeze_channels import reference as squeezed
from attnzoo.ops.torch_internals import buffers_of, parameters_of

if TYPE_CHECKING:
    from attnzoo.kernels.cpu.launch_gates import Options, Weights


@functools.cache
def _launch() -> ModuleType:
    """Import the kernels: from the second time on, faster than the statement."""
    from attnzoo.kernels.cpu import launch_gates

    return launch_gates


class Bottleneck(NamedTuple):
    """A channel gate: two 1x1 convolutions with a ReLU between them and a sigmoid behind."""

    reduce: nn.Module
    act: nn.Module
    expand: nn.Module
    maxima: bool
    """Whether it looks at averages and maxima, summed behind the ReLU, or at averages only."""


class Convolution(NamedTuple):
    """A spatial gate: a convolution of two planes to one, a norm or nothing behind it, then a sigmoid."""

    conv: nn.Module
    norm: nn.Module


def gate_images(
    x: Tensor,
    bottleneck: Bottleneck | None,
    convolution: Convolution | None,
    *,
    around: tuple[nn.Module, ...] = (),
    channels: int,
    residual: bool,
    blend: Tensor | None,
    layer: nn.Module,
    in_place: bool = False,
) -> Tensor | None:
    """Return ``x`` times the blended gates, as ``apply_gates`` does, or None where the modules must be called.

    A norm in training takes the batch into its running statistics. Nothing is kept from call to call, so that nothing
    can be stale: what the modules hold is read each time.

    Args:
        x: Map (B, C, H, W).
        bottleneck: The channel gate, if there is one.
        convolution: The spatial gate, if there is one.
        around: Further modules that are not called.
        channels: What ``x`` must have as C.
        residual: Add 1 to the product of the gates, or the blend.
        blend: How much of each gate counts, of shape () or (1,); None for all of it.
        layer: Whose gates they are, for whoever listens to ``note_gates``.
        in_place: Whether ``x`` may be overwritten, where no gradient is wanted.

    Raises:
        RuntimeError: If a parameter or a statistic is not on the device of ``x``.
        TypeError: If ``x`` is no floating tensor of the weights' dtype.
        ValueError: If its shape does not fit.
    """
    if not isinstance(x, Tensor) or not x.is_cpu:  # on other devices nothing of the CPU's kernels is asked or imported
        return None
    reason = (
        eligibility.why_surroundings_forbid()
        or _why_not_these(bottleneck, convolution)
        or eligibility.why_called(*around, *(bottleneck or ())[:3], *(convolution or ()))
    )
    if reason is not None:
        eligibility.note("gate_images", "torch", reason)
        return None
    weights, options = _read(bottleneck, convolution, float(residual), blend)
    first = weights.weight if weights.reduce is None else weights.reduce
    checks.feature_map("x", x, channels, like=first)
    statistics = () if options.norm is None else options.norm[1:4]
    eligibility.require_one_device(x, (*weights, *statistics))
    unfit = _why_no_kernel(x, weights, options)
    if not eligibility.may_fuse("gate_images", x, unfit, beside=(*weights, *statistics)):
        return None
    wants = torch.is_grad_enabled() and (x.requires_grad or any(t is not None and t.requires_grad for t in weights))
    if not x.is_contiguous():
        x = autograd.dense(x)
    listens = listened()
    y, state, record = _forward(x, weights, options, wants, listens, in_place)
    if wants:
        running = (None, None) if options.norm is None else options.norm[1:3]
        y = _Gate.apply(x, (y, state, record, running), *weights)
    if listens:
        note_gates(layer, _gates(x, weights, options, state))
    return y


def _why_not_these(bottleneck: Bottleneck | None, convolution: Convolution | None) -> str | None:
    """Return which module is not of the paper's kind, with the paper's options."""
    if bottleneck is not None:
        reduce, act, expand, _ = bottleneck
        plain = eligibility.is_plain_convolution
        if type(act) is not nn.ReLU or not plain(reduce, 1) or not plain(expand, 1):
            return "the bottleneck is not two plain 1x1 convolutions with nn.ReLU between them"
    if convolution is not None:
        conv, norm = convolution
        if type(norm) is not nn.BatchNorm2d and type(norm) is not nn.Identity:
            return "the spatial gate's norm is neither nn.BatchNorm2d nor nn.Identity"
        if not any(eligibility.is_plain_convolution(conv, size) for size in NATIVE_SIZES):
            return f"the spatial gate's convolution is no plain one of K x K, K in {NATIVE_SIZES}"
    return None


def _read(
    bottleneck: Bottleneck | None, convolution: Convolution | None, offset: float, blend: Tensor | None
) -> tuple[Weights, Options]:
    """Return what the modules hold, past their ``__getattr__``, which takes longer than all of this."""
    reduce = expand = reduce_bias = expand_bias = weight = bias = gain = shift = how = None
    maxima, launch = False, _launch()
    if bottleneck is not None:
        first, _, second, maxima = bottleneck
        inner, outer = parameters_of(first), parameters_of(second)
        reduce, reduce_bias, expand, expand_bias = inner["weight"], inner["bias"], outer["weight"], outer["bias"]
    if convolution is not None:
        conv, norm = convolution
        own = parameters_of(conv)
        weight, bias = own["weight"], own["bias"]
        if type(norm) is nn.BatchNorm2d:
            own = parameters_of(norm)
            gain, shift = own["weight"], own["bias"]
            how = _norm(norm, launch)
    values = (reduce, expand, reduce_bias, expand_bias, weight, bias, gain, shift, blend)
    weights: Weights = make(launch.Weights, values)
    return weights, make(launch.Options, (maxima, offset, how))


def _norm(norm: nn.BatchNorm2d, launch: ModuleType) -> Any:
    """Return what the norm goes by, and what is to follow the batch, by torch's rules."""
    buffers = buffers_of(norm)
    mean, variance, tracked = buffers["running_mean"], buffers["running_var"], buffers["num_batches_tracked"]
    batch, momentum = norm.training or (mean is None and variance is None), norm.momentum
    if batch and not (norm.training and norm.track_running_stats):
        mean = variance = tracked = None
    if momentum is None:
        momentum = 0.0 if tracked is None or not batch else 1 / (int(tracked) + 1)
    return make(launch.Norm, (batch, mean, variance, tracked, momentum, norm.eps))


def _why_no_kernel(x: Tensor, weights: Weights, options: Options) -> str | None:
    batch, _, height, width = x.shape
    norm = options.norm
    if batch * height * width <= 1:
        return "the batch has a single pixel, or none"
    if norm is not None and norm.mean is not None:
        counts = norm.tracked is None or norm.tracked.dtype is torch.int64
        pair = norm.variance is not None and norm.mean.dtype is norm.variance.dtype
        if not (counts and pair and norm.mean.dtype in dispatch.KERNEL_DTYPES):
            return "the norm's running statistics have unusual dtypes"
    if not _fits(x.shape[1], weights):
        return "the weights do not fit the map, or are not contiguous"
    for tensor in weights:
        if tensor is not None and tensor.dtype is not x.dtype:
            return f"all weights must have the dtype of x, {x.dtype}, got {tensor.dtype}"
    return None


def _fits(channels: int, weights: Weights) -> bool:
    """Tell whether a kernel that goes by the channels and the bottleneck's width alone reads no further than it may."""
    reduce, expand, reduce_bias, expand_bias, weight, *single = weights
    counts = [(tensor, 1) for tensor in single]
    if reduce is not None and expand is not None:
        hidden = reduce.shape[0]
        if reduce.shape != (hidden, channels, 1, 1) or expand.shape != (channels, hidden, 1, 1):
            return False
        if not (reduce.is_contiguous() and expand.is_contiguous()):
            return False
        counts += [(reduce_bias, hidden), (expand_bias, channels)]
    if weight is not None and weight.shape[:2] != (1, 2):
        return False
    return all(tensor is None or (tensor.numel() == count and tensor.is_contiguous()) for tensor, count in counts)


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


def _forward(
    x: Tensor, weights: Weights, options: Options, training: bool, listens: bool, in_place: bool
) -> tuple[Tensor, Any, bytes]:
    norm, launch = options.norm, _launch()
    y = x if in_place and not training else torch.empty_like(x)
    wanted = training or listens or (norm is not None and norm.batch)
    state = launch.gate_state(x, weights, options) if wanted else None
    return y, state, launch.gate_images(x, weights, options, training, state, y)


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
        y, state, ctx.record, ctx.running = computed
        ctx.save_for_backward(x, *weights, state)
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *weights, state = ctx.saved_tensors
        if dy is None:
            return (None,) * (2 + len(weights))
        launch = _launch()
        options = launch.options_of(ctx.record, ctx.running)
        if autograd.needs_reference(dy):
            recompute = lambda *inputs: _reference(options, state, *inputs)  # noqa: E731
            d_x, *d_weights = autograd.reference_gradients(recompute, [x, *weights], [dy])
            return d_x, None, *d_weights
        found = _backward(dy, x, launch.Weights._make(weights), options, state, ctx.needs_input_grad[2:])
        return found[0], None, *found[1:]
