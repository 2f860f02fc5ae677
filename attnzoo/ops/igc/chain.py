"""Several of CEDNN's blocks one after the other, in evaluation, as one operation.

For one image, waking the threads takes longer than the arithmetic: one kernel for all blocks wakes them once.
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
    check_block,
    check_guides,
    igc_block,
    tensors_of,
    why_gradients_forbid,
)
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.igc.torch_path import Folded, fold, reference

_LARGEST_BATCH = 1 << 21
"""Largest number of elements of a block's input for which torch computes several images in one call; measured."""


class IGCLink(NamedTuple):
    """A block of a chain; see ``igc_block``.

    Attributes:
        stages: Its three convolutions with their norms.
        groups: Groups of the first convolution.
        pool: Whether the output is max-pooled 2x2.
        maps: Guiding maps (B, n, H, W) with the height and width of the block's input, or None.
        residual: Whether the channels are multiplied by ``maps + 1`` instead of ``maps``.
        gate: Gate (B, C, 1, 1) by which the block's input is multiplied first, or None.
    """

    stages: Sequence[Stage]
    groups: int
    pool: bool = False
    maps: Tensor | None = None
    residual: bool = False
    gate: Tensor | None = None


def igc_chain(x: Tensor, links: Sequence[IGCLink], *, backend: str | None = None) -> Tensor:
    """Apply ``igc_block`` for each link, one block after the other.

    Args:
        x: Map (B, C, H, W), the first block's input.
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
        "igc_chain", x, backend, why_gradients_forbid(x, tensors), others=tensors
    ):
        return _native(x, links)
    if torch.is_grad_enabled() or not eligibility.plain_eager():  # a graph must be valid for any batch size
        for link in links:
            x = igc_block(  # torch.compile supports _asdict only since torch 2.9
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
    """Number of images per call of torch: few enough for their maps to stay in the cache."""


def _steps(x: Tensor, links: Sequence[IGCLink]) -> list[_Step]:
    steps, (batch, *shape) = [], x.shape
    for link in links:
        stages, groups, pool, maps, _, gate = link
        channels = check_block((batch, *shape), stages, groups, pool)
        check_guides((batch, *shape), channels, maps, gate)
        _, height, width = shape
        images = _LARGEST_BATCH // (channels * height * width) if x.is_cpu else batch
        steps.append(_Step(link, fold(stages, groups), max(1, images)))
        shape = [len(stages[2].weight), *((height // 2, width // 2) if pool else (height, width))]
    return steps


def _by_torch(x: Tensor, steps: Sequence[_Step], start: int, stop: int) -> Tensor:
    """Return the last step's output for images ``start`` to ``stop`` of ``x``."""
    if not steps:
        return x[start:stop]
    *before, ((_, _, pool, maps, residual, gate), folded, images) = steps
    outputs = []
    for first in range(start, max(start + 1, stop), images):
        last = min(first + images, stop)
        inputs = _by_torch(x, before, first, last)
        some_maps, some_gates = (None if t is None else t[first:last] for t in (maps, gate))
        outputs.append(reference(inputs, folded, pool=pool, maps=some_maps, residual=residual, gate=some_gates).map)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _native(x: Tensor, links: Sequence[IGCLink]) -> Tensor:
    from attnzoo.kernels.cpu.igc import launch

    x = x.contiguous()
    packed, y = [], x
    for stages, groups, pool, maps, residual, gate in links:
        check_guides(y.shape, check_block(y.shape, stages, groups, pool), maps, gate)
        size = [side // 2 if pool else side for side in y.shape[2:]]
        y = x.new_empty((len(x), len(stages[2].weight), *size))
        guides = None if maps is None else maps.to(x.dtype).contiguous()
        weights, norms = as_floats([stage.weight for stage in stages]), [t for stage in stages for t in stage[1:6]]
        float_gate = None if gate is None else as_float(gate)
        epsilons = [stage.epsilon for stage in stages]
        norms = as_floats(norms)
        packed.append(launch.Link(weights, norms, epsilons, groups, pool, guides, float(residual), float_gate, y, None))
    if len(x):
        launch.igc_blocks(x, packed)
    return y
