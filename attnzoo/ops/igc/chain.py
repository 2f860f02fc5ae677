"""Several of CEDNN's blocks without gradients, each on what the one before has made, as one operation.

For one image it is the waking of threads that costs, not the arithmetic: here they are woken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.ops import eligibility
from attnzoo.ops.igc.block import (
    as_float,
    as_floats,
    check_beside,
    check_block,
    igc_block,
    tensors_of,
    why_gradients_forbid,
)
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.igc.torch_path import Folded, fold, reference

_TOGETHER = 1 << 21
"""Elements up to which the inputs of several images are one call's; measured."""


class IGCLink(NamedTuple):
    """A block of a chain; see ``igc_block``.

    Attributes:
        stages: Its three convolutions with their norms.
        groups: Groups of the first.
        pool: Whether the maximum of each 2x2 pixels is handed on.
        maps: Guiding maps of the size of the block's input.
        residual: Whether channels are multiplied by ``maps + 1``.
        gate: By which the block's input is multiplied.
    """

    stages: Sequence[Stage]
    groups: int
    pool: bool = False
    maps: Tensor | None = None
    residual: bool = False
    gate: Tensor | None = None


def igc_chain(x: Tensor, links: Sequence[IGCLink], *, backend: str | None = None) -> Tensor:
    """Return what ``igc_block`` makes of ``x``, one block after the other.

    Args:
        x: Map (B, C, H, W), which the first block takes.
        links: The blocks, at least one.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        The last block's map.

    Raises:
        RuntimeError: If the backend asked for cannot run, or a tensor is not on the device of ``x``.
        ValueError: If a shape does not fit, or there are no blocks.
    """
    if not links:
        raise ValueError("links must be at least one block, got none")
    tensors = [t for link in links for t in tensors_of(link.stages, link.maps, link.gate)]
    eligibility.require_one_device(x, tensors)
    # in a compiled graph each block is an operator
    if not torch.compiler.is_compiling() and eligibility.takes_native(
        "igc_chain", x, backend, why_gradients_forbid(x, tensors), beside=tensors
    ):
        return _native(x, links)
    if torch.is_grad_enabled() or not eligibility.plain_eager():  # a graph must hold for any batch
        for link in links:
            x = igc_block(  # torch.compile knows _asdict since torch 2.9
                x,
                link.stages,
                groups=link.groups,
                pool=link.pool,
                maps=link.maps,
                residual=link.residual,
                gate=link.gate,
                backend=backend,
            ).map
        return x
    return _by_torch(x, _steps(x, links), 0, len(x))


class _Step(NamedTuple):
    link: IGCLink
    folded: Folded
    images: int
    """How many at a time torch computes the fastest: their maps should stay in the cache."""


def _steps(x: Tensor, links: Sequence[IGCLink]) -> list[_Step]:
    steps, (batch, *shape) = [], x.shape
    for link in links:
        stages, groups, pool, maps, _, gate = link
        channels = check_block((batch, *shape), stages, groups, pool)
        check_beside((batch, *shape), channels, maps, gate)
        _, height, width = shape
        images = _TOGETHER // (channels * height * width) if x.is_cpu else batch
        steps.append(_Step(link, fold(stages, groups), max(1, images)))
        shape = [len(stages[2].weight), *((height // 2, width // 2) if pool else (height, width))]
    return steps


def _by_torch(x: Tensor, steps: Sequence[_Step], start: int, stop: int) -> Tensor:
    """Return what the steps make of some images of ``x``."""
    if not steps:
        return x[start:stop]
    *before, ((_, _, pool, maps, residual, gate), folded, images) = steps
    made = []
    for first in range(start, max(start + 1, stop), images):
        last = min(first + images, stop)
        read = _by_torch(x, before, first, last)
        own_maps, own_gate = (None if t is None else t[first:last] for t in (maps, gate))
        made.append(reference(read, folded, pool=pool, maps=own_maps, residual=residual, gate=own_gate).map)
    return made[0] if len(made) == 1 else torch.cat(made)


def _native(x: Tensor, links: Sequence[IGCLink]) -> Tensor:
    from attnzoo.kernels.cpu.igc import launch

    x = x.contiguous()
    made, read = [], x
    for stages, groups, pool, maps, residual, gate in links:
        check_beside(read.shape, check_block(read.shape, stages, groups, pool), maps, gate)
        size = [side // 2 if pool else side for side in read.shape[2:]]
        read = x.new_empty((len(x), len(stages[2].weight), *size))
        guides = None if maps is None else maps.to(x.dtype).contiguous()
        weights, norms = as_floats([stage.weight for stage in stages]), [t for stage in stages for t in stage[1:6]]
        own_gate = None if gate is None else as_float(gate)
        epsilons = [stage.epsilon for stage in stages]
        norms = as_floats(norms)
        made.append(launch.Link(weights, norms, epsilons, groups, pool, guides, float(residual), own_gate, read, None))
    if len(x):
        launch.igc_blocks(x, made)
    return read
