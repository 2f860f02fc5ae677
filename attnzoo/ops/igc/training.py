"""CEDNN's block in training, as a few passes over the batch instead of thirteen operations.

A batch norm needs the whole batch's moments before it can be applied. So there is one pass per convolution: it
normalises its input while reading it, writes the convolution's output, and sums up that output's moments. No normalised
or activated map is written. Of the last convolution, only the value of each 2x2 window that is largest after the norm
is written; the backward pass computes the others again. As in ``max_pool2d``, the first of equal values counts, up to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import autograd, eligibility
from attnzoo.ops.igc.block import check_block
from attnzoo.ops.igc.stage import Stage


class Moments(NamedTuple):
    """Mean and biased variance (C,) of a convolution's output over the batch, in its norm's channel order; float64."""

    mean: Tensor
    variance: Tensor


class IGCTraining(NamedTuple):
    """The block's output, and the moments of each of its three norms' inputs, which carry no gradient."""

    map: Tensor
    moments: tuple[Moments, Moments, Moments]


def igc_training(
    x: Tensor, stages: Sequence[Stage], *, groups: int, pool: bool = False, backend: str | None = None
) -> IGCTraining:
    """Apply a block of CEDNN in training: each norm uses the moments of the batch; see ``igc_block``.

    ``x``, the first two convolutions' outputs and the third's, pooled if ``pool``, are saved for the backward pass.

    Args:
        x: Map (B, C, H, W).
        stages: As in ``igc_block``; the running statistics are not read.
        groups: Groups of the first convolution.
        pool: Whether the output is max-pooled 2x2; an odd last row or column is dropped.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        The map (B, C', H, W) or (B, C', H // 2, W // 2), contiguous from the native kernel, and the moments.

    Raises:
        RuntimeError: If the backend asked for cannot run, or a parameter is not on the device of ``x``.
        ValueError: If a shape does not fit, or there is only one value per channel.
    """
    channels = check_block(x.shape, stages, groups, pool)
    if x.shape[1] != channels:
        raise ValueError(f"x must have {channels} channels, got {x.shape[1]}")
    if x.numel() <= x.shape[1]:
        raise ValueError(f"x must have more than one value a channel in training, got {tuple(x.shape)}")
    parameters = [t for stage in stages for t in stage.learned()]
    eligibility.require_one_device(x, parameters)
    if not eligibility.takes_native("igc_training", x, backend, _unfit(x, parameters), others=parameters):
        return _reference(x, stages, groups, pool)
    epsilons = tuple(stage.epsilon for stage in stages)
    y, *moments = _Block.apply(x, groups, pool, epsilons, *parameters)
    return IGCTraining(y, tuple(Moments(*each) for each in moments))  # type: ignore[arg-type]


def _unfit(x: Tensor, parameters: Sequence[Tensor | None]) -> str | None:
    if torch.compiler.is_compiling():
        return "the passes are no operators that a graph could hold"
    if torch.is_autocast_enabled("cpu"):
        return "the passes know no autocast"
    if not all(t is None or t.dtype == torch.float32 for t in (x, *parameters)):
        return "all tensors must be float32"
    return None


def _reference(x: Tensor, stages: Sequence[Stage], groups: int, pool: bool) -> IGCTraining:
    """Return the same as ``igc_training``, computed by torch."""
    moments: list[Moments] = []

    def normed(y: Tensor, stage: Stage) -> Tensor:
        with torch.no_grad():
            exact = y if stage.bias is None else y - stage.bias.view(-1, 1, 1)
            moments.append(Moments(*reversed(torch.var_mean(exact.double(), (0, 2, 3), correction=0))))
        return F.batch_norm(y, None, None, stage.gain, stage.offset, training=True, eps=stage.epsilon)

    first, second, third = stages
    batch, channels, *size = x.shape
    z = F.relu(normed(F.conv2d(x, first.weight, first.bias, padding=1, groups=groups), first))
    z = z.reshape(batch, groups, -1, *size).transpose(1, 2).reshape(x.shape)
    z = normed(F.conv2d(z, second.weight, second.bias, groups=channels // groups), second)
    z = z.reshape(batch, -1, groups, *size).transpose(1, 2).reshape(x.shape)
    t = F.relu(z + x if third.weight.shape[1] == channels else torch.cat([z, x], dim=1))
    y = normed(F.conv2d(t, third.weight, third.bias), third)
    y = F.relu(F.max_pool2d(y, 2) if pool else y)
    return IGCTraining(y, tuple(moments))  # type: ignore[arg-type]


class _Parameters(NamedTuple):
    """The parameters of a stage."""

    weight: Tensor
    bias: Tensor | None
    gain: Tensor | None
    offset: Tensor | None

    @classmethod
    def of(cls, tensors: Sequence[Tensor | None]) -> list[_Parameters]:
        """Return the parameters of each stage from one flat sequence, made contiguous."""
        dense = [None if t is None else t.contiguous() for t in tensors]
        return [cls(*dense[i : i + 4]) for i in range(0, len(dense), 4)]  # type: ignore[arg-type]

    def natural(self, groups: int) -> _Parameters:
        """Return the second stage's parameters with its norm's channels in the block's order."""
        gain, offset = (None if t is None else _natural(t, groups) for t in self[2:])
        return self._replace(gain=gain, offset=offset)


class _Norm(NamedTuple):
    """A batch norm as the passes take it, its channels in the block's order, and the factors of its gradients."""

    affine: Tensor
    means: Tensor
    scale: Tensor  # gain over deviation, and one over deviation, in float64
    precision: Tensor

    @classmethod
    def of(cls, moments: Tensor, stage: _Parameters, epsilon: float) -> _Norm:
        mean, variance = moments
        precision = torch.rsqrt(variance + epsilon)
        scale = precision if stage.gain is None else stage.gain.double() * precision
        shift = -mean * scale if stage.offset is None else stage.offset.double() - mean * scale
        return cls(torch.stack([scale, shift]).float(), mean.float(), scale, precision)

    def terms(self, sums: Tensor, count: int) -> Tensor:
        """Return (4, C): slope, offset, pull, mean; see igc/step_backward.cpp."""
        average, pull = sums / count
        rows = [self.scale, -self.scale * average, -self.scale * self.precision.square() * pull]
        return torch.cat([torch.stack(rows).float(), self.means[None]])

    def gradients(self, sums: Tensor) -> Tensor:
        """Return the gradients of gain and offset, stacked (2, C)."""
        return torch.stack([sums[1] * self.precision, sums[0]]).float()


class _Block(torch.autograd.Function):
    """All passes. The second norm's parameters come in the order of its convolution's groups."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, pool: bool, epsilons: tuple[float, ...], *parameters: Tensor | None
    ) -> tuple[Tensor, ...]:
        from attnzoo.kernels.cpu.igc import launch_step as launch

        x = x.contiguous()
        first, second, third = _Parameters.of(parameters)
        outputs = len(third.weight)
        geometry = launch.Geometry(groups, outputs, third.weight.shape[1] != x.shape[1], pool)
        size = [side // 2 if pool else side for side in x.shape[2:]]
        a, b, kept = torch.empty_like(x), torch.empty_like(x), x.new_empty((len(x), outputs, *size))
        moments = [x.new_empty((2, c), dtype=torch.float64) for c in (x.shape[1], x.shape[1], outputs)]
        launch.first(x, geometry, first.weight, a, moments[0])
        norms = [_Norm.of(moments[0], first, epsilons[0])]
        launch.second(a, geometry, norms[0].affine, second.weight, b, moments[1])
        norms.append(_Norm.of(moments[1], second.natural(groups), epsilons[1]))
        signs = x.new_ones(outputs) if third.gain is None else torch.where(third.gain < 0, -1.0, 1.0)
        launch.third(b, x, geometry, norms[1].affine, third.weight, signs, kept, moments[2])
        norms.append(_Norm.of(moments[2], third, epsilons[2]))
        y = torch.empty_like(kept)
        launch.last(kept, norms[2].affine, y)
        ctx.save_for_backward(x, a, b, kept, signs, *(t for norm in norms for t in norm), *parameters)
        ctx.geometry, ctx.epsilons = geometry, epsilons
        ctx.set_materialize_grads(False)
        moments[1] = _grouped(moments[1], groups)
        ctx.mark_non_differentiable(*moments)
        return y, *moments

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        x, a, b, kept, signs, *rest = ctx.saved_tensors
        parameters = rest[12:]
        if dy is None:
            return (None,) * (4 + len(parameters))
        if autograd.needs_reference(dy):
            d_x, *d_parameters = autograd.reference_gradients(_reference_of(ctx), [x, *parameters], [dy])
            return d_x, None, None, None, *d_parameters
        norms = [_Norm(*rest[i : i + 4]) for i in (0, 4, 8)]
        dx, gradients = _gradients(ctx, dy.contiguous(), (x, a, b, kept, signs), norms, _Parameters.of(parameters))
        return dx, None, None, None, *gradients


def _gradients(
    ctx: Any,
    dy: Tensor,
    maps: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    norms: Sequence[_Norm],
    stages: Sequence[_Parameters],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Return the gradients of x and of all parameters."""
    from attnzoo.kernels.cpu.igc import launch_step as launch

    x, a, b, kept, signs = maps
    geometry, (norm1, norm2, norm3) = ctx.geometry, norms
    w1, w2, w3 = (stage.weight for stage in stages)
    d1, d2, d3 = torch.empty_like(w1), torch.empty_like(w2), w3.new_empty(w3.shape[1::-1])
    sums1, sums2, sums3 = (norm.scale.new_empty((2, len(norm.scale))) for norm in norms)
    count = x.numel() // x.shape[1]
    launch.last_backward(dy, kept, norm3.affine, norm3.means, sums3)
    dt = x.new_empty((len(x), w3.shape[1], *x.shape[2:]))
    launch.third_backward(
        *(dy, b, x, geometry, norm2.affine, w3, signs, norm3.affine, norm3.terms(sums3, count)),
        *(norm2.means, dt, sums2, d3),
    )
    dz, terms = torch.empty_like(x), norm2.terms(sums2, count)
    launch.second_backward(dt, b, geometry, terms, a, norm1.affine, norm1.means, w2, dz, sums1, d2)
    dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
    launch.first_backward(dz, a, geometry, norm1.terms(sums1, count), x, w1, dt, dx, d1)
    of_norms = norm1.gradients(sums1), _grouped(norm2.gradients(sums2), geometry.groups), norm3.gradients(sums3)
    gradients: list[Tensor | None] = []
    for stage, d_weight, (d_gain, d_offset) in zip(stages, (d1, d2, d3.t()), of_norms, strict=True):
        gradients.append(d_weight.reshape(stage.weight.shape).contiguous())
        gradients.append(None if stage.bias is None else torch.zeros_like(stage.bias))  # the norm cancels a bias
        gradients += [None if stage.gain is None else d_gain, None if stage.offset is None else d_offset]
    return dx, gradients


def _reference_of(ctx: Any) -> Callable[..., tuple[Tensor]]:
    """Return the reference as a function of x and all parameters."""

    def function(x: Tensor, *tensors: Tensor | None) -> tuple[Tensor]:
        nothing = x.new_empty(0)
        pairs = zip(_Parameters.of(tensors), ctx.epsilons, strict=True)
        stages = [Stage(*parameters, nothing, nothing, epsilon) for parameters, epsilon in pairs]
        return (_reference(x, stages, ctx.geometry.groups, ctx.geometry.pool).map,)

    return function


def _natural(values: Tensor, groups: int) -> Tensor:
    """Reorder the second norm's channels (.., C) from its groups' order to the block's order."""
    return values.view(*values.shape[:-1], -1, groups).transpose(-1, -2).reshape(values.shape).contiguous()


def _grouped(values: Tensor, groups: int) -> Tensor:
    """Undo ``_natural``."""
    return values.view(*values.shape[:-1], groups, -1).transpose(-1, -2).reshape(values.shape).contiguous()
