"""CEDNN's whole block in one kernel, which writes no intermediate map: convolutions, connection, fusion, pooling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from attnzoo.ops import dispatch, eligibility
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.igc.torch_path import IGCOutput, fold, reference

T = TypeVar("T", Tensor, Tensor | None)


def igc_block(
    x: Tensor,
    stages: Sequence[Stage],
    *,
    groups: int,
    pool: bool = False,
    maps: Tensor | None = None,
    residual: bool = False,
    gate: Tensor | None = None,
    means: bool = False,
    backend: str | None = None,
) -> IGCOutput:
    """Apply a block of CEDNN in evaluation: ``relu(W3(relu(W2(relu(W1(x))) + x)))``, a batch norm after each W.

    W1 is a 3x3 convolution of ``groups`` groups of M channels, W2 a 1x1 convolution of M groups, each of which takes
    one channel from each group of W1. Nothing is cached: the weights are read at each call.

    Args:
        x: Map (B, C, H, W), or (B, C / r, H, W) whose channels are repeated r times.
        stages: W1 (C, M, 3, 3), W2 (C, C / M, 1, 1) in the order of its groups, and W3 (C', C, 1, 1), or
            (C', 2C, 1, 1): then ``x`` is not added but concatenated behind W2's output.
        groups: Groups of W1.
        pool: Whether the output is max-pooled 2x2; an odd last row or column is dropped.
        maps: Guiding maps (B, n, H, W) of the dtype of ``x``: the C channels form n + 1 equal spans, and each span but
            the first is multiplied by its map. If the channels of ``x`` are repeated, each repetition is a span.
        residual: Whether the channels are multiplied by ``maps + 1`` instead of ``maps``.
        gate: Gate (B, channels of ``x``, 1, 1) by which ``x`` is multiplied first, or None.
        means: Whether to return averages over the pixels too.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        The map (B, C', H, W) or (B, C', H // 2, W // 2), contiguous from the native kernel and channels-last from
        torch, and with ``means`` the averages (B, C') of the map before pooling.

    Raises:
        RuntimeError: If the backend asked for cannot run, or a tensor is not on the device of ``x``.
        ValueError: If a shape does not fit.
    """
    channels = check_block(x.shape, stages, groups, pool)
    check_guides(x.shape, channels, maps, gate)
    tensors = tensors_of(stages, maps, gate)
    eligibility.require_one_device(x, tensors)
    unfit = why_gradients_forbid(x, tensors)
    if pool and means and (x.shape[2] % 2 or x.shape[3] % 2):
        unfit = f"averages and pooling together need an even height and width, got {tuple(x.shape[2:])}"
    if not eligibility.takes_native("igc_block", x, backend, unfit, others=tensors, compiled=True):
        return reference(x, fold(stages, groups), pool=pool, maps=maps, residual=residual, gate=gate, means=means)
    weights, norms = [stage.weight for stage in stages], [t for stage in stages for t in stage.all_but_weight()]
    epsilons = [stage.epsilon for stage in stages]
    options = (groups, pool, maps, residual, gate, means)
    y, averages = dispatch.operator("igc_block", _forward)(x, weights, norms, epsilons, *options)
    return IGCOutput(y, averages if means else None)


def tensors_of(stages: Sequence[Stage], maps: Tensor | None, gate: Tensor | None) -> list[Tensor]:
    """Return all tensors of a block except its input."""
    tensors = [t for stage in stages for t in (stage.weight, *stage.all_but_weight()) if t is not None]
    return tensors + [t for t in (gate, maps) if t is not None]


def why_gradients_forbid(x: Tensor, tensors: Sequence[Tensor]) -> str | None:
    """Return why the kernel cannot compute a block of these tensors, if one requires a gradient, or None."""
    if torch.is_grad_enabled() and (x.requires_grad or any(t.requires_grad for t in tensors)):
        return "the kernel has no gradient"
    return None


def check_block(shape: Sequence[int], stages: Sequence[Stage], groups: int, pool: bool) -> int:
    """Check that a block takes a map ``x`` of this shape, and return its number of channels C.

    Raises:
        ValueError: If a shape does not fit.
    """
    if len(shape) != 4:
        raise ValueError(f"x must have shape (B, C, H, W), got {tuple(shape)}")
    _, given, height, width = shape
    if height * width == 0 or (pool and min(height, width) < 2):
        raise ValueError(f"x must have at least {'2x2 pixels' if pool else 'one pixel'}, got {tuple(shape)}")
    channels = _check_weights([stage.weight for stage in stages], groups)
    if given == 0 or channels % given:
        raise ValueError(f"x must have {channels} channels, or {channels} divided by a whole number, got {given}")
    return channels


def check_guides(shape: Sequence[int], channels: int, maps: Tensor | None, gate: Tensor | None) -> None:
    """Check that guiding maps and gate fit a map ``x`` of this shape, in a block of ``channels``.

    Raises:
        ValueError: If a shape does not fit.
    """
    batch, given, height, width = shape
    if gate is not None and gate.shape != (batch, given, 1, 1):
        raise ValueError(f"gate must have shape {(batch, given, 1, 1)}, got {tuple(gate.shape)}")
    if maps is not None:
        _check_maps(maps, (batch, height, width), channels, given)


def _check_weights(weights: Sequence[Tensor], groups: int) -> int:
    if len(weights) != 3:
        raise ValueError(f"stages must be three, got {len(weights)}")
    first, second, third = (tuple(weight.shape) for weight in weights)
    channels = first[0]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups must divide the {channels} channels, got {groups}")
    wanted = (channels, channels // groups, 3, 3), (channels, groups, 1, 1)
    if (first, second) != wanted:
        raise ValueError(f"stages must begin with weights {wanted[0]} and {wanted[1]}, got {first} and {second}")
    if third not in {(third[0], channels, 1, 1), (third[0], 2 * channels, 1, 1)}:
        raise ValueError(f"stages must end with a weight (C', {channels} or {2 * channels}, 1, 1), got {third}")
    return int(channels)


def _check_maps(maps: Tensor, like: tuple[int, int, int], channels: int, given: int) -> None:
    batch, height, width = like
    if maps.dim() != 4 or maps.shape[1] == 0 or maps.shape != (batch, maps.shape[1], height, width):
        raise ValueError(f"maps must have shape ({batch}, n, {height}, {width}), got {tuple(maps.shape)}")
    spans = maps.shape[1] + 1
    if channels % spans or given % min(given, channels // spans) or channels % (spans * min(given, channels // spans)):
        raise ValueError(f"maps must divide {channels} channels of {given} into n + 1 spans, got n = {spans - 1}")


torch.library.define(
    "attnzoo::igc_block",
    "(Tensor x, Tensor[] weights, Tensor?[] norms, float[] epsilons, int groups, bool pool, Tensor? maps, "
    "bool residual, Tensor? gate, bool means) -> (Tensor, Tensor)",
)


def _outputs(
    x: Tensor,
    weights: Sequence[Tensor],
    norms: Sequence[Tensor | None],
    epsilons: Sequence[float],
    groups: int,
    pool: bool,
    maps: Tensor | None,
    residual: bool,
    gate: Tensor | None,
    means: bool,
) -> tuple[Tensor, Tensor]:
    batch, _, height, width = x.shape
    channels = len(weights[2])
    size = (height // 2, width // 2) if pool else (height, width)
    averages = (batch, channels) if means else (0,)
    return x.new_empty((batch, channels, *size)), x.new_empty(averages, dtype=torch.float32)


torch.library.register_fake("attnzoo::igc_block", _outputs)


def _forward(
    x: Tensor,
    weights: Sequence[Tensor],
    norms: Sequence[Tensor | None],
    epsilons: Sequence[float],
    groups: int,
    pool: bool,
    maps: Tensor | None,
    residual: bool,
    gate: Tensor | None,
    means: bool,
) -> tuple[Tensor, Tensor]:
    from attnzoo.kernels.cpu.igc import launch

    y, averages = _outputs(x, weights, norms, epsilons, groups, pool, maps, residual, gate, means)
    if x.shape[0] == 0:
        return y, averages
    guides = None if maps is None else maps.to(x.dtype).contiguous()
    link = launch.Link(
        *([as_float(weight) for weight in weights], as_floats(norms), epsilons, groups, pool, guides, float(residual)),
        *(None if gate is None else as_float(gate), y, averages if means else None),
    )
    launch.igc_blocks(x.contiguous(), [link])
    return y, averages


def as_float(tensor: Tensor) -> Tensor:
    """Return the tensor as the kernel takes it: float32, contiguous."""
    if tensor.dtype == torch.float32 and tensor.is_contiguous():
        return tensor
    return tensor.float().contiguous()


def as_floats(tensors: Iterable[T]) -> list[T]:
    """Return ``as_float`` of each tensor; faster, because it makes no call for tensors that need no change."""
    return [t if t is None or (t.dtype is torch.float32 and t.is_contiguous()) else as_float(t) for t in tensors]


torch.library.impl("attnzoo::igc_block", "CPU", _forward)
