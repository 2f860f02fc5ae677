"""Several of CEDNN's blocks without gradients, each on what the one before has made, as one operation.

For one image it is the waking of threads that costs, not the arithmetic: here they are woken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.ops import dispatch, eager
from attnzoo.ops.igc_block import (
    Stage,
    as_float,
    as_floats,
    check_beside,
    check_block,
    fold,
    guided,
    igc_block,
    reference,
    unfit_for_kernel,
)
from attnzoo.ops.named import make

_LARGE = 1 << 18
"""Elements that a block's input has of one image, from which on torch computes images one after the other; measured."""


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
        RuntimeError: If the backend asked for cannot run.
        ValueError: If a shape does not fit, or there are no blocks.
    """
    if not links:
        raise ValueError("links must be at least one block, got none")
    reasons = [unfit_for_kernel(x, link.stages, link.maps, link.gate) for link in links]
    # in a compiled graph each block is an operator
    if not torch.compiler.is_compiling() and dispatch.takes_native(x, backend, next(filter(None, reasons), None)):
        return _native(x, links)
    large = _large(x, links)
    x = _image_by_image(x, links[:large]) if large else x
    for link in links[large:]:
        x = igc_block(x, **link._asdict(), backend=backend).map
    return x


def _large(x: Tensor, links: Sequence[IGCLink]) -> int:
    """Return how many blocks torch computes faster image by image, so that an image's maps stay in the cache."""
    if len(x) < 2 or not x.is_cpu or torch.is_grad_enabled() or torch.compiler.is_compiling() or dispatch.transformed():
        return 0  # a graph must hold for any batch
    height, width = x.shape[2:]
    for i, link in enumerate(links):
        if len(link.stages[0].weight) * height * width < _LARGE:
            return i
        height, width = (height // 2, width // 2) if link.pool else (height, width)
    return len(links)


def _image_by_image(x: Tensor, links: Sequence[IGCLink]) -> Tensor:
    folded = [fold(link.stages, link.groups) for link in links]
    made = []
    for i in range(len(x)):
        image = x[i : i + 1]
        for (stages, groups, pool, maps, residual, gate), own in zip(links, folded, strict=True):
            channels = check_block(image, stages, groups, pool)
            guides, gates = (None if t is None else t[i : i + 1] for t in (maps, gate))
            check_beside(image, channels, guides, gates)
            image = reference(guided(image, channels, guides, residual, gates), own, groups, pool, False).map
        made.append(image)
    return torch.cat(made)


def _native(x: Tensor, links: Sequence[IGCLink]) -> Tensor:
    from attnzoo.kernels.cpu import launch_igc

    eager.prepare()
    x = x.contiguous()
    made, read = [], x
    for stages, groups, pool, maps, residual, gate in links:
        check_beside(read, check_block(read, stages, groups, pool), maps, gate)
        size = [side // 2 if pool else side for side in read.shape[2:]]
        read = x.new_empty((len(x), len(stages[2].weight), *size))
        guides = None if maps is None else maps.to(x.dtype).contiguous()
        weights, norms = as_floats([stage.weight for stage in stages]), [t for stage in stages for t in stage[1:6]]
        own_gate = None if gate is None else as_float(gate)
        epsilons = [stage.epsilon for stage in stages]
        own = (weights, as_floats(norms), epsilons, groups, pool, guides, float(residual), own_gate, read, None)
        made.append(make(launch_igc.Link, own))
    if len(x):
        launch_igc.igc_blocks(x, made)
    return read
