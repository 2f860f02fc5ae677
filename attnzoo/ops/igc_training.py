"""CEDNN's block in training: passes over the batch between its norms, instead of thirteen operations.

A norm must know the whole batch before it can be applied. So each pass applies the norm in front of its convolution on
the way, writes what the convolution makes, and gathers its moments: nothing is normalised or cut off in memory. Of the
last convolution only that value of each 2x2 window is written which its norm makes the largest; the backward pass
computes it again. Where it lies is what ``max_pool2d`` would say, up to rounding: the first of those that are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo.ops import autograd, dispatch
from attnzoo.ops.igc_block import Stage, check_block


class Moments(NamedTuple):
    """Mean and biased variance (C,) of what a convolution makes over the batch, in the order of its norm; float64."""

    mean: Tensor
    variance: Tensor


class IGCTraining(NamedTuple):
    """What the block makes, and the moments in front of each of its three norms, which carry no gradient."""

    map: Tensor
    moments: tuple[Moments, Moments, Moments]


def igc_training(
    x: Tensor, stages: Sequence[Stage], *, groups: int, pool: bool = False, backend: str | None = None
) -> IGCTraining:
    """Return a block of CEDNN in training: each norm by the moments of the batch; see ``igc_block``.

    For the backward pass it keeps ``x``, what the first two convolutions make, and what is left of the third.

    Args:
        x: Map (B, C, H, W).
        stages: As in ``igc_block``; the statistics that they have gathered are not read.
        groups: Groups of the first convolution.
        pool: Whether the maximum of each 2x2 pixels is returned; an odd last row or column is dropped.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        The map (B, C', H, W) or (B, C', H // 2, W // 2), contiguous by the native kernel, and the moments.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape does not fit, or there is but one value a channel.
    """
    channels = check_block(x, stages, groups, pool)
    if x.shape[1] != channels:
        raise ValueError(f"x must have {channels} channels, got {x.shape[1]}")
    if x.numel() <= x.shape[1]:
        raise ValueError(f"x must have more than one value a channel in training, got {tuple(x.shape)}")
    parameters = [t for stage in stages for t in stage[:4]]
    if not dispatch.takes_native(x, backend, _unfit(x, parameters)):
        return _reference(x, stages, groups, pool)
    epsilons = tuple(stage.epsilon for stage in stages)
    y, *moments = _Block.apply(x, groups, pool, epsilons, *parameters)
    return IGCTraining(y, tuple(Moments(*each) for each in moments))  # type: ignore[arg-type]


def _unfit(x: Tensor, parameters: Sequence[Tensor | None]) -> str | None:
    if torch.compiler.is_compiling():
        return "the passes are no operators that a graph could hold"
    if torch.is_autocast_enabled("cpu"):
        return "the passes know no autocast"
    if not all(t is None or (t.is_cpu and t.dtype == torch.float32) for t in (x, *parameters)):
        return "all tensors must be float32 on the CPU"
    return None


def _reference(x: Tensor, stages: Sequence[Stage], groups: int, pool: bool) -> IGCTraining:
    """Compute it by torch."""
    moments: list[Moments] = []

    def normed(y: Tensor, stage: Stage) -> Tensor:
        with torch.no_grad():
            exact = y if stage.bias is None else y - stage.bias.view(-1, 1, 1)
            moments.append(Moments(*reversed(torch.var_mean(exact.double(), (0, 2, 3), correction=0))))
        return F.batch_norm(y, None, None, stage.gain, stage.offset, training=True, eps=stage.epsilon)

    first, second, third = stages
    batch, channels, height, width = x.shape
    z = F.relu(normed(F.conv2d(x, first.weight, first.bias, padding=1, groups=groups), first))
    z = z.unflatten(1, (groups, -1)).transpose(1, 2).reshape(x.shape)
    z = normed(F.conv2d(z, second.weight, second.bias, groups=channels // groups), second)
    z = z.unflatten(1, (-1, groups)).transpose(1, 2).reshape(x.shape)
    t = F.relu(z + x if third.weight.shape[1] == channels else torch.cat([z, x], dim=1))
    y = normed(F.conv2d(t, third.weight, third.bias), third)
    y = F.relu(F.max_pool2d(y, 2) if pool else y)
    return IGCTraining(y, tuple(moments))  # type: ignore[arg-type]


class _Norm(NamedTuple):
    """A norm as the passes take it, its channels in their natural order, and what its gradients are made of."""

    affine: Tensor
    means: Tensor
    scale: Tensor  # gain and deviation in float64
    deviation: Tensor

    @classmethod
    def of(cls, moments: Tensor, gain: Tensor | None, offset: Tensor | None, epsilon: float) -> _Norm:
        mean, variance = moments
        deviation = torch.rsqrt(variance + epsilon)
        scale = deviation if gain is None else gain.double() * deviation
        shift = -mean * scale if offset is None else offset.double() - mean * scale
        return cls(torch.stack([scale, shift]).float(), mean.float(), scale, deviation)

    def terms(self, sums: Tensor, count: int) -> Tensor:
        """Return (4, C): slope, offset, pull, mean; see igc_step_backward.cpp."""
        average, pull = sums / count
        rows = [self.scale, -self.scale * average, -self.scale * self.deviation.square() * pull]
        return torch.cat([torch.stack(rows).float(), self.means[None]])


class _Block(torch.autograd.Function):
    """All passes. The second norm's parameters are in the order of its groups, like its convolution's outputs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, pool: bool, epsilons: tuple[float, ...], *parameters: Tensor | None
    ) -> tuple[Tensor, ...]:
        from attnzoo.kernels.cpu import launch_igc_step as launch

        x = x.contiguous()
        w1, _, g1, o1, w2, _, g2, o2, w3, _, g3, o3 = (None if t is None else t.contiguous() for t in parameters)
        geometry = launch.Geometry(groups, len(w3), w3.shape[1] != x.shape[1], pool)
        batch, channels, height, width = x.shape
        moments = [x.new_empty((2, len(w)), dtype=torch.float64) for w in (w1, w2, w3)]
        a, b = torch.empty_like(x), torch.empty_like(x)
        launch.first(x, geometry, w1, a, moments[0])
        norm1 = _Norm.of(moments[0], g1, o1, epsilons[0])
        launch.second(a, geometry, norm1.affine, w2, b, moments[1])
        norm2 = _Norm.of(moments[1], _natural(g2, groups), _natural(o2, groups), epsilons[1])
        size = (height // 2, width // 2) if pool else (height, width)
        kept = x.new_empty((batch, len(w3), *size))
        signs = x.new_ones(len(w3)) if g3 is None else torch.where(g3 < 0, -1.0, 1.0)
        launch.third(b, x, geometry, norm2.affine, w3, signs, kept, moments[2])
        norm3 = _Norm.of(moments[2], g3, o3, epsilons[2])
        y = torch.empty_like(kept)
        launch.last(kept, norm3.affine, y)
        ctx.save_for_backward(x, a, b, kept, signs, *(t for n in (norm1, norm2, norm3) for t in n), *parameters)
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
            found = autograd.reference_gradients(_of_tensors(ctx), [x, *parameters], [dy])
            return found[0], None, None, None, *found[1:]
        norms = _Norm(*rest[:4]), _Norm(*rest[4:8]), _Norm(*rest[8:12])
        dx, gradients = _gradients(ctx, dy, (x, a, b, kept, signs), norms, parameters)
        return dx, None, None, None, *gradients


def _gradients(
    ctx: Any,
    dy: Tensor,
    maps: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    norms: tuple[_Norm, _Norm, _Norm],
    parameters: Sequence[Tensor | None],
) -> tuple[Tensor | None, list[Tensor | None]]:
    from attnzoo.kernels.cpu import launch_igc_step as launch

    x, a, b, kept, signs = maps
    geometry, groups, (norm1, norm2, norm3) = ctx.geometry, ctx.geometry.groups, norms
    w1, w2, w3 = (parameters[i].contiguous() for i in (0, 4, 8))  # type: ignore[union-attr] - weights are there
    d1, d2, d3 = torch.empty_like(w1), torch.empty_like(w2), w3.new_empty(w3.shape[1::-1])
    count = x.numel() // x.shape[1]
    sums1, sums2, sums3 = (n.scale.new_empty((2, len(n.scale))) for n in norms)
    launch.last_backward(dy.contiguous(), kept, norm3.affine, norm3.means, sums3)
    dt = x.new_empty((len(x), w3.shape[1], *x.shape[2:]))
    launch.third_backward(
        *(dy.contiguous(), b, x, geometry, norm2.affine, w3, signs, norm3.affine, norm3.terms(sums3, count)),
        *(norm2.means, dt, sums2, d3),
    )
    dz, terms2 = torch.empty_like(x), norm2.terms(sums2, count)
    launch.second_backward(dt, b, geometry, terms2, a, norm1.affine, norm1.means, w2, dz, sums1, d2)
    dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
    launch.first_backward(dz, a, geometry, norm1.terms(sums1, count), x, w1, dt, dx, d1)
    gradients: list[Tensor | None] = []
    d_weights = d1, d2, d3.t().contiguous().view_as(w3)
    for k, (weight, sums, norm) in enumerate(zip(d_weights, (sums1, sums2, sums3), norms, strict=True)):
        of_norm = torch.stack([sums[1] * norm.deviation, sums[0]]).float()
        of_norm = _grouped(of_norm, groups) if k == 1 else of_norm
        bias, gain, offset = parameters[4 * k + 1 : 4 * k + 4]
        gradients += [weight, None if bias is None else torch.zeros_like(bias)]  # no norm lets a bias through
        gradients += [t if own is not None else None for own, t in ((gain, of_norm[0]), (offset, of_norm[1]))]
    return dx, gradients


def _of_tensors(ctx: Any) -> Any:
    """Return the reference as a function of x and all parameters."""

    def function(x: Tensor, *parameters: Tensor | None) -> tuple[Tensor]:
        nothing = x.new_empty(0)
        stages = [
            Stage(*parameters[4 * k : 4 * k + 4], nothing, nothing, epsilon)  # type: ignore[arg-type]
            for k, epsilon in enumerate(ctx.epsilons)
        ]
        return (_reference(x, stages, ctx.geometry.groups, ctx.geometry.pool).map,)

    return function


def _natural(values: Tensor | None, groups: int) -> Tensor | None:
    """Reorder the second norm's channels (.., C) as the block's are."""
    return None if values is None else values.unflatten(-1, (-1, groups)).transpose(-1, -2).flatten(-2).contiguous()


def _grouped(values: Tensor, groups: int) -> Tensor:
    """Undo ``_natural``."""
    return values.unflatten(-1, (groups, -1)).transpose(-1, -2).flatten(-2).contiguous()
