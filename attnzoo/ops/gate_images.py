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
from attnzoo.ops.convolution import watched
from attnzoo.ops.global_pool import reference as pooled
from attnzoo.ops.spatial_conv import reference as convolved
from attnzoo.ops.squeeze_channels import reference as squeezed


class Bottleneck(NamedTuple):
    """The two layers of a channel gate, with a ReLU between them and a sigmoid behind."""

    reduce: nn.Conv2d
    expand: nn.Conv2d
    maxima: bool
    """Whether it looks at averages and maxima, summed behind the ReLU, or at averages only."""


class Convolution(NamedTuple):
    """The convolution of a spatial gate and the norm behind it, if there is one, with a sigmoid behind."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None

    def of_batch(self) -> bool:
        """Tell whether the norm goes by the statistics of the batch."""
        return self.norm is not None and (self.norm.training or self.norm.running_mean is None)


def applies(x: Tensor, *modules: nn.Module) -> bool:
    """Tell whether ``gate_images`` may take the place of calling ``modules``.

    It may not where anybody watches (hooks, compilers, counters), where there are fewer images than threads, or where
    the batch has a single value, which torch's norm refuses to train on.
    """
    batch, _, height, width = x.shape
    return (
        not torch.compiler.is_compiling()
        and batch >= torch.get_num_threads()
        and batch * height * width > 1
        and not any(map(watched, modules))
        and dispatch.choose(x, None) == "native"
    )


class _Parameters(NamedTuple):
    """What a gradient is taken of, besides the map."""

    reduce: Tensor | None
    expand: Tensor | None
    reduce_bias: Tensor | None
    expand_bias: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None


class _Options(NamedTuple):
    """What no gradient is taken of. The running statistics are copies: the norm goes on changing its own."""

    maxima: bool
    normed: bool
    batch: bool
    mean: float
    variance: float
    epsilon: float
    residual: bool


def gate_images(
    x: Tensor, bottleneck: Bottleneck | None, convolution: Convolution | None, *, residual: bool = False
) -> Tensor:
    """Return ``x * gates``, or ``x * (gates + 1)``; see ``applies``.

    A norm in training takes the batch into its running statistics.

    Args:
        x: Map (B, C, H, W) on the CPU.
        bottleneck: The channel gate, if there is one.
        convolution: The spatial gate, if there is one.
        residual: Add 1 to the product of the gates.
    """
    parameters, options = _taken_apart(bottleneck, convolution, residual)
    x = autograd.dense(x)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *parameters))
    if wanted:
        y: Tensor
        y, state = _Gate.apply(options, x, *parameters)
    else:
        y, state = _forward(x, parameters, options, False)
    norm = None if convolution is None else convolution.norm
    if norm is not None and norm.training:
        _follow(norm, state[-2:], parameters.bias, x)
    return y


def _taken_apart(
    bottleneck: Bottleneck | None, convolution: Convolution | None, residual: bool
) -> tuple[_Parameters, _Options]:
    net: tuple[Tensor | None, ...] = (None,) * 4
    conv: tuple[Tensor | None, ...] = (None,) * 4
    maxima, norm, batch, mean, variance, epsilon = False, None, False, 0.0, 1.0, 0.0
    if bottleneck is not None:
        reduce, expand, maxima = bottleneck
        net = (reduce.weight, expand.weight, reduce.bias, expand.bias)
    if convolution is not None:
        layer, norm = convolution
        conv = (layer.weight, layer.bias, None, None)
        if norm is not None:
            conv, epsilon, batch = (*conv[:2], norm.weight, norm.bias), norm.eps, convolution.of_batch()
            if not batch and norm.running_mean is not None and norm.running_var is not None:
                mean, variance = norm.running_mean.item(), norm.running_var.item()
    return _Parameters(*net, *conv), _Options(maxima, norm is not None, batch, mean, variance, epsilon, residual)


def _follow(norm: nn.BatchNorm2d, whole: Tensor, bias: Tensor | None, x: Tensor) -> None:
    """Do to the running statistics what the norm does in training."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        share = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
        count = x.shape[0] * x.shape[2] * x.shape[3]
        mean, variance = whole.tolist()
        mean += _number(bias, 0.0)
        for running, new in ((norm.running_mean, mean), (norm.running_var, variance * count / (count - 1))):
            running.fill_((1 - share) * running.item() + share * new)


def _prepared(parameters: _Parameters, options: _Options) -> tuple[Any, Any]:
    """Return the gates as the kernels take them."""
    from attnzoo.kernels.cpu import launch

    net = conv = None
    if parameters.reduce is not None and parameters.expand is not None:
        weights = (parameters.reduce.contiguous(), parameters.expand.contiguous())
        net = launch.Bottleneck(
            *weights, _float(parameters.reduce_bias), _float(parameters.expand_bias), options.maxima
        )
    if parameters.weight is not None:
        center = options.mean - _number(parameters.bias, 0.0)
        factor = (options.variance + options.epsilon) ** -0.5
        affine = (_number(parameters.norm_weight, 1.0), _number(parameters.norm_bias, 0.0))
        weight = parameters.weight.float().contiguous()
        conv = launch.Convolution(weight, center, factor, *affine, options.epsilon, options.batch)
    return net, conv


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float().contiguous()


def _number(tensor: Tensor | None, missing: float) -> float:
    return missing if tensor is None else tensor.item()


def _forward(x: Tensor, parameters: _Parameters, options: _Options, training: bool) -> tuple[Tensor, Tensor]:
    from attnzoo.kernels.cpu import launch

    net, conv = _prepared(parameters, options)
    y, state = torch.empty_like(x), launch.gate_state(x, net, conv)
    launch.gate_images(x, net, conv, float(options.residual), training, state, y)
    return y, state


def _backward(
    dy: Tensor, x: Tensor, parameters: _Parameters, options: _Options, state: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    from attnzoo.kernels.cpu import launch

    net, conv = _prepared(parameters, options)
    found = [
        None if t is None or not wants else torch.empty(t.shape, dtype=t.dtype if index < 2 else torch.float32)
        for index, (t, wants) in enumerate(zip(parameters[:5], wanted[1:6], strict=True))
    ]
    numbers = None if conv is None else torch.empty(2)
    dx = torch.empty_like(x)
    gradients = launch.Gradients._make([*found, numbers])
    launch.gate_images_backward(autograd.like(dy, x), x, net, conv, float(options.residual), state, dx, gradients)
    small: list[Tensor | None] = [None] * 3
    if numbers is not None:
        gain, shift = numbers
        small = [shift * 0 if options.batch else shift * (conv.factor * conv.gain), gain, shift]
    return dx, *(
        None if t is None or g is None or not wants else g.to(t.dtype).view(t.shape)
        for t, g, wants in zip(parameters, (*found, *small), wanted[1:], strict=True)
    )


def _reference(
    options: _Options,
    x: Tensor,
    reduce: Tensor | None,
    expand: Tensor | None,
    reduce_bias: Tensor | None,
    expand_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
) -> tuple[Tensor]:
    """Compute it by torch."""
    gates: list[Tensor] = []
    if reduce is not None and expand is not None:
        vectors = pooled(x, options.maxima)
        inner = F.relu(_linear(vectors, reduce, reduce_bias))
        gates.append(_linear(inner, expand, expand_bias).sum(0).sigmoid()[:, :, None, None])
    if weight is not None:
        logits = convolved(squeezed(x, gates[0] if gates else None), weight, bias)
        if options.normed:
            fixed = [None if options.batch else logits.new_tensor([v]) for v in (options.mean, options.variance)]
            affine = _as(logits, norm_weight, norm_bias)
            logits = F.batch_norm(logits, fixed[0], fixed[1], affine[0], affine[1], options.batch, 0, options.epsilon)
        gates.append(logits.sigmoid())
    return (applied(x, gates, None, options.residual, None, False),)


def _linear(vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(vectors, weight.flatten(1).to(vectors.dtype), _as(vectors, bias)[0])


def _as(like: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.to(like.dtype) for t in tensors]


class _Gate(torch.autograd.Function):
    """Both ways in one call each. The state is another output, so that the norm can follow it."""

    @staticmethod
    def forward(ctx: Any, options: _Options, x: Tensor, *parameters: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.options = options
        y, state = _forward(x, _Parameters(*parameters), options, True)
        ctx.save_for_backward(x, *parameters, state)
        ctx.mark_non_differentiable(state)
        ctx.set_materialize_grads(False)
        return y, state

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *parameters, state = ctx.saved_tensors
        if dy is None:
            return (None,) * (2 + len(parameters))
        if autograd.needs_reference(dy):
            recompute = lambda *inputs: _reference(ctx.options, *inputs)  # noqa: E731
            return None, *autograd.reference_gradients(recompute, [x, *parameters], [dy])
        return None, *_backward(dy, x, _Parameters(*parameters), ctx.options, state, ctx.needs_input_grad[1:])
