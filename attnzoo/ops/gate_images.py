"""A whole channel and spatial gate, image by image, so that each image is read from memory as seldom as possible.

This is how ``SqueezeExcite`` and ``CBAM`` compute on the CPU, with gradients and without: one call each way. It is what
``global_pool``, ``squeeze_channels``, ``spatial_conv`` and ``apply_gates`` compute one after the other; the gradient of
the map is written once where theirs is written three times.
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
from attnzoo.ops import autograd, dispatch, eager
from attnzoo.ops.apply_gates import reference as applied
from attnzoo.ops.global_pool import reference as pooled
from attnzoo.ops.named import make
from attnzoo.ops.noting import note_gates, told
from attnzoo.ops.spatial_conv import reference as convolved
from attnzoo.ops.squeeze_channels import reference as squeezed
from attnzoo.ops.watching import watched

if TYPE_CHECKING:
    from attnzoo.kernels.cpu.launch_gates import Options, Weights


@functools.cache
def _launch() -> ModuleType:
    """Import the kernels: sooner than the statement, from the second time on."""
    from attnzoo.kernels.cpu import launch_gates

    eager.prepare()
    return launch_gates


class Bottleneck(NamedTuple):
    """A channel gate: two layers with a ReLU between them and a sigmoid behind."""

    reduce: nn.Conv2d
    act: nn.ReLU
    expand: nn.Conv2d
    maxima: bool
    """Whether it looks at averages and maxima, summed behind the ReLU, or at averages only."""


class Convolution(NamedTuple):
    """A spatial gate: a convolution and the norm behind it, if it is one, with a sigmoid behind."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | nn.Identity


def gate_images(
    x: Tensor,
    bottleneck: Bottleneck | None,
    convolution: Convolution | None,
    *,
    around: tuple[nn.Module, ...] = (),
    channels: int,
    residual: bool,
    layer: nn.Module,
) -> Tensor | None:
    """Return ``x * gates``, or ``x * (gates + 1)``, or None where the modules must be called one by one.

    That is where anybody watches them (hooks, compilers, counters), where there are fewer images than threads, where
    the weights have several dtypes, and where the batch has a single value, which torch's norm refuses to train on.
    A norm in training takes the batch into its running statistics.

    Nothing is kept from call to call, so that nothing can be stale: what the modules hold is read each time, by as few
    steps as will do. On a small map they take as long as the kernel.

    Args:
        x: Map (B, C, H, W).
        bottleneck: The channel gate, if there is one.
        convolution: The spatial gate, if there is one.
        around: Further modules that are not called.
        channels: What ``x`` must have as C.
        residual: Add 1 to the product of the gates.
        layer: Whose gates they are, for whoever listens to ``note_gates``.

    Raises:
        TypeError: If ``x`` is no floating tensor of the weights' dtype.
        ValueError: If its shape does not fit.
    """
    if watched(*around, *(bottleneck or ())[:3], *(convolution or ())):
        return None
    try:
        weights, options = _read(bottleneck, convolution, float(residual))
    except KeyError:  # somebody has put something else where a parameter or a buffer was
        return None
    first = weights.weight if weights.reduce is None else weights.reduce
    checks.feature_map("x", x, channels, like=first)
    if first is None or not dispatch.native_in_eager(x) or not _may_run(x, weights, options):
        return None
    dtype, learns = first.dtype, torch.is_grad_enabled()
    wants = learns and x.requires_grad
    for tensor in weights:
        if tensor is not None:
            wants = wants or (learns and tensor.requires_grad)
            if tensor.dtype is not dtype:
                return None
    if not x.is_contiguous():
        x = autograd.dense(x)
    listens = told.get() is not None
    y, state, record = _forward(x, weights, options, wants, listens)
    if wants:
        norm = options.norm
        y = with_gradient(x, (y, state, record, (None, None) if norm is None else norm[1:3], weights))
    if listens:
        note_gates(layer, _gates(x, weights, options, state))
    return y


def with_gradient(
    x: Tensor, made: tuple[Tensor, Tensor, bytes, tuple[Tensor | None, Tensor | None], Weights]
) -> Tensor:
    """Return a gated map as autograd is to know it.

    Args:
        x: The map.
        made: The gated map, the state that was left, the kernel's record, what the norm goes by, and the weights.
    """
    y: Tensor = _Gate.apply(x, made, *made[4])
    return y


def _read(bottleneck: Bottleneck | None, convolution: Convolution | None, offset: float) -> tuple[Weights, Options]:
    """Return what the modules hold, past their ``__getattr__``, which takes longer than all of this."""
    reduce = expand = reduce_bias = expand_bias = weight = bias = gain = shift = how = None
    maxima, launch = False, _launch()
    if bottleneck is not None:
        first, _, second, maxima = bottleneck
        inner, outer = first._parameters, second._parameters  # noqa: SLF001
        reduce, reduce_bias, expand, expand_bias = inner["weight"], inner["bias"], outer["weight"], outer["bias"]
    if convolution is not None:
        conv, norm = convolution
        own = conv._parameters  # noqa: SLF001
        weight, bias = own["weight"], own["bias"]
        if type(norm) is nn.BatchNorm2d:
            own = norm._parameters  # noqa: SLF001
            gain, shift = own["weight"], own["bias"]
            how = _norm(norm, launch)
    weights: Weights = make(launch.Weights, (reduce, expand, reduce_bias, expand_bias, weight, bias, gain, shift))
    return weights, make(launch.Options, (maxima, offset, how))


def _norm(norm: nn.BatchNorm2d, launch: ModuleType) -> Any:
    """Return what the norm goes by, and what is to follow the batch, by torch's rules."""
    buffers = norm._buffers  # noqa: SLF001
    mean, variance, tracked = buffers["running_mean"], buffers["running_var"], buffers["num_batches_tracked"]
    batch, momentum = norm.training or (mean is None and variance is None), norm.momentum
    if batch and not (norm.training and norm.track_running_stats):
        mean = variance = tracked = None
    if momentum is None:
        momentum = 0.0 if tracked is None or not batch else 1 / (int(tracked) + 1)
    return make(launch.Norm, (batch, mean, variance, tracked, momentum, norm.eps))


def _may_run(x: Tensor, weights: Weights, options: Options) -> bool:
    batch, _, height, width = x.shape
    norm = options.norm
    if norm is not None and norm.mean is not None:
        counts = norm.tracked is None or norm.tracked.dtype is torch.int64
        pair = norm.variance is not None and norm.mean.dtype is norm.variance.dtype
        if not (counts and pair and norm.mean.dtype in dispatch.KERNEL_DTYPES):
            return False
    for tensor in weights[:2]:
        if tensor is not None and not tensor.is_contiguous():
            return False
    return batch >= torch.get_num_threads() and batch * height * width > 1


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


def _forward(x: Tensor, weights: Weights, options: Options, training: bool, listens: bool) -> tuple[Tensor, Any, bytes]:
    y, norm, launch = torch.empty_like(x), options.norm, _launch()
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
) -> tuple[Tensor]:
    """Compute it by torch."""
    gates: list[Tensor] = []
    norm = options.norm
    if reduce is not None and expand is not None:
        vectors = pooled(x, options.maxima)
        inner = F.relu(_linear(vectors, reduce, reduce_bias))
        gates.append(_linear(inner, expand, expand_bias).sum(0).sigmoid()[:, :, None, None])
    if weight is not None:
        logits = convolved(squeezed(x, gates[0] if gates else None), weight, bias)
        if norm is not None and norm.batch:
            gain, shift = _as(logits, gain, shift)
            logits = F.batch_norm(logits, None, None, gain, shift, True, 0, norm.epsilon)
        elif norm is not None:
            center, factor = state[-3], state[-2]
            logits = (logits - (center if bias is None else center + bias.detach())) * factor
            logits = logits if gain is None else logits * gain
            logits = logits if shift is None else logits + shift
        gates.append(logits.sigmoid())
    return (applied(x, gates, None, bool(options.offset), None, False),)


def _linear(vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(vectors, weight.flatten(1).to(vectors.dtype), _as(vectors, bias)[0])


def _as(like: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.to(like.dtype) for t in tensors]


class _Gate(torch.autograd.Function):
    """Both ways in one call each, of which the first has been made."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, made: tuple[Any, ...], *weights: Tensor | None) -> Tensor:
        y: Tensor
        y, state, ctx.record, ctx.running, _ = made
        ctx.save_for_backward(x, *weights, state)
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *weights, state = ctx.saved_tensors
        if dy is None:
            return (None,) * (2 + len(weights))
        if autograd.needs_reference(dy):
            options = _launch().options_of(ctx.record, ctx.running)
            recompute = lambda *inputs: _reference(options, state, *inputs)  # noqa: E731
            d_x, *d_weights = autograd.reference_gradients(recompute, [x, *weights], [dy])
            return d_x, None, *d_weights
        wanted = ctx.needs_input_grad[2:]
        found = eager.gradients(ctx.record, dy, x, tuple(weights), state, ctx.running, wanted)
        if found is None:
            launch = _launch()
            options = launch.options_of(ctx.record, ctx.running)
            found = _backward(dy, x, launch.Weights._make(weights), options, state, wanted)
        return found[0], None, *found[1:]
