"""A whole channel and spatial gate, image by image, so that each image is read from memory as seldom as possible.

This is how ``SqueezeExcite`` and ``CBAM`` compute on the CPU, with gradients and without: one call each way. It is what
``global_pool``, ``squeeze_channels``, ``spatial_conv`` and ``apply_gates`` compute one after the other; the gradient of
the map is written once where theirs is written three times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo.ops import autograd, dispatch
from attnzoo.ops.apply_gates import reference as applied
from attnzoo.ops.global_pool import reference as pooled
from attnzoo.ops.noting import listened, note_gates
from attnzoo.ops.spatial_conv import reference as convolved
from attnzoo.ops.squeeze_channels import reference as squeezed


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


class _Parameters(NamedTuple):
    """What a gradient is taken of, besides the map."""

    reduce: Tensor | None
    expand: Tensor | None
    reduce_bias: Tensor | None
    expand_bias: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    gain: Tensor | None
    shift: Tensor | None


class _Options(NamedTuple):
    """What no gradient is taken of."""

    maxima: bool
    residual: bool
    normed: bool
    batch: bool
    epsilon: float


def gate_images(
    x: Tensor,
    bottleneck: Bottleneck | None,
    convolution: Convolution | None,
    *,
    around: tuple[nn.Module, ...] = (),
    residual: bool = False,
    layer: nn.Module | None = None,
) -> Tensor | None:
    """Return ``x * gates``, or ``x * (gates + 1)``, or None where the modules must be called one by one.

    That is where anybody watches them (hooks, compilers, counters), where there are fewer images than threads, where
    the weights have several dtypes, and where the batch has a single value, which torch's norm refuses to train on.
    A norm in training takes the batch into its running statistics.

    Args:
        x: Map (B, C, H, W).
        bottleneck: The channel gate, if there is one.
        convolution: The spatial gate, if there is one.
        around: Further modules that are not called.
        residual: Add 1 to the product of the gates.
        layer: Whose gates they are, for whoever listens to ``note_gates``.
    """
    if torch.compiler.is_compiling() or dispatch.choose(x, None) != "native":
        return None
    parameters = _taken_apart(bottleneck, convolution)
    if not _may_run(x, parameters) or any(map(autograd.watched, (bottleneck or ())[:3] + (convolution or ()) + around)):
        return None
    norm = None if convolution is None or isinstance(convolution.norm, nn.Identity) else convolution.norm
    fixed = (None, None) if norm is None or norm.training else (norm.running_mean, norm.running_var)
    normed = norm is not None
    maxima, epsilon = bottleneck is not None and bottleneck.maxima, 0.0 if norm is None else norm.eps
    options = _Options(maxima, residual, normed, normed and fixed[0] is None, epsilon)
    x = autograd.dense(x)
    if torch.is_grad_enabled() and (x.requires_grad or any(t is not None and t.requires_grad for t in parameters)):
        y: Tensor
        y, state = _Gate.apply(options, fixed, x, *parameters)
    else:
        y, state = _forward(x, parameters, options, fixed, False)
    if layer is not None and listened():
        note_gates(layer, _gates(x, parameters, options, fixed, state))
    if norm is not None and norm.training:
        _follow(norm, state[-3:], parameters.bias, x)
    return y


def _may_run(x: Tensor, parameters: _Parameters) -> bool:
    batch, _, height, width = x.shape
    dtypes = {t.dtype for t in parameters if t is not None}
    one = len(dtypes) == 1 and dtypes.issubset(dispatch.KERNEL_DTYPES)
    return one and batch >= torch.get_num_threads() and batch * height * width > 1


def _taken_apart(bottleneck: Bottleneck | None, convolution: Convolution | None) -> _Parameters:
    reduce = expand = reduce_bias = expand_bias = weight = bias = gain = shift = None
    if bottleneck is not None:
        first, _, second, _ = bottleneck
        reduce, expand, reduce_bias, expand_bias = first.weight, second.weight, first.bias, second.bias
    if convolution is not None:
        conv, norm = convolution
        weight, bias = conv.weight, conv.bias
        if not isinstance(norm, nn.Identity):
            gain, shift = norm.weight, norm.bias
    return _Parameters(reduce, expand, reduce_bias, expand_bias, weight, bias, gain, shift)


def _gates(
    x: Tensor,
    parameters: _Parameters,
    options: _Options,
    fixed: tuple[Tensor | None, Tensor | None],
    state: Tensor,
) -> dict[str, Tensor]:
    """Return the gates that were computed, by name."""
    from attnzoo.kernels.cpu import launch

    channel, logits = launch.gates_in_state(x, *_prepared(parameters, options, fixed, options.normed), state)
    found = {} if channel is None else {"channel": channel}
    if logits is not None:
        center, factor, _ = state[-3:]  # the bias is in the center
        logits = (logits - center) * factor
        logits = logits if parameters.gain is None else logits * parameters.gain
        found["spatial"] = (logits if parameters.shift is None else logits + parameters.shift).sigmoid()
    return found


def _follow(norm: nn.BatchNorm2d, whole: Tensor, bias: Tensor | None, x: Tensor) -> None:
    """Do to the running statistics what the norm does in training."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
    count = x.shape[0] * x.shape[2] * x.shape[3]
    mean, _, variance = whole.tolist()
    mean += 0.0 if bias is None else bias.item()
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance * count / (count - 1))):
        running.fill_((1 - share) * running.item() + share * new)


def _prepared(
    parameters: _Parameters, options: _Options, fixed: tuple[Tensor | None, Tensor | None], normed: bool
) -> tuple[Any, Any]:
    """Return the gates as the kernels take them."""
    from attnzoo.kernels.cpu import launch

    net = conv = None
    if parameters.reduce is not None and parameters.expand is not None:
        weights = (parameters.reduce.contiguous(), parameters.expand.contiguous())
        net = launch.Bottleneck(*weights, parameters.reduce_bias, parameters.expand_bias, options.maxima)
    if parameters.weight is not None:
        conv = launch.Convolution(parameters.weight, *parameters[5:], *fixed, options.epsilon, normed)
    return net, conv


def _forward(
    x: Tensor,
    parameters: _Parameters,
    options: _Options,
    fixed: tuple[Tensor | None, Tensor | None],
    training: bool,
) -> tuple[Tensor, Tensor]:
    from attnzoo.kernels.cpu import launch

    net, conv = _prepared(parameters, options, fixed, options.normed)
    y, state = torch.empty_like(x), launch.gate_state(x, net, conv)
    launch.gate_images(x, net, conv, float(options.residual), training, state, y)
    return y, state


def _backward(
    dy: Tensor, x: Tensor, parameters: _Parameters, options: _Options, state: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    from attnzoo.kernels.cpu import launch

    # statistics that were fixed are in the state: here a norm that goes by them is a linear function like any
    net, conv = _prepared(parameters, options, (None, None), options.batch)
    needed = [t if wants else None for t, wants in zip(parameters, wanted[1:], strict=True)]
    found = [None if t is None else torch.empty(t.shape, dtype=t.dtype) for t in needed[:4]]
    found.append(None if needed[4] is None else torch.empty(needed[4].shape))
    numbers = None if conv is None else torch.empty(3)
    dx = torch.empty_like(x)
    gradients = launch.Gradients._make([*found, numbers])
    launch.gate_images_backward(autograd.like(dy, x), x, net, conv, float(options.residual), state, dx, gradients)
    found += [None] * 3 if numbers is None else [numbers[i : i + 1] for i in range(3)]
    return dx, *(
        None if t is None or gradient is None else gradient.to(t.dtype)
        for t, gradient in zip(needed, found, strict=True)
    )


def _reference(
    options: _Options,
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
    if reduce is not None and expand is not None:
        vectors = pooled(x, options.maxima)
        inner = F.relu(_linear(vectors, reduce, reduce_bias))
        gates.append(_linear(inner, expand, expand_bias).sum(0).sigmoid()[:, :, None, None])
    if weight is not None:
        logits = convolved(squeezed(x, gates[0] if gates else None), weight, bias)
        if options.batch:
            gain, shift = _as(logits, gain, shift)
            logits = F.batch_norm(logits, None, None, gain, shift, True, 0, options.epsilon)
        elif options.normed:
            center, factor = state[-3], state[-2]
            logits = (logits - (center if bias is None else center + bias.detach())) * factor
            logits = logits if gain is None else logits * gain
            logits = logits if shift is None else logits + shift
        gates.append(logits.sigmoid())
    return (applied(x, gates, None, options.residual, None, False),)


def _linear(vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(vectors, weight.flatten(1).to(vectors.dtype), _as(vectors, bias)[0])


def _as(like: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.to(like.dtype) for t in tensors]


class _Gate(torch.autograd.Function):
    """Both ways in one call each. The state is another output, so that the norm can follow it."""

    @staticmethod
    def forward(
        ctx: Any,
        options: _Options,
        fixed: tuple[Tensor | None, Tensor | None],
        x: Tensor,
        *parameters: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.options = options
        y, state = _forward(x, _Parameters._make(parameters), options, fixed, True)
        ctx.save_for_backward(x, *parameters, state)
        ctx.mark_non_differentiable(state)
        ctx.set_materialize_grads(False)
        return y, state

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *parameters, state = ctx.saved_tensors
        if dy is None:
            return (None,) * (3 + len(parameters))
        if autograd.needs_reference(dy):
            recompute = lambda *inputs: _reference(ctx.options, state, *inputs)  # noqa: E731
            return None, None, *autograd.reference_gradients(recompute, [x, *parameters], [dy])
        own = _Parameters._make(parameters)
        return None, None, *_backward(dy, x, own, ctx.options, state, ctx.needs_input_grad[2:])
