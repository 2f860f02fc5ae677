"""Blocks of CEDNN without gradients, computed from the modules that hold their weights.

For one small image Python takes as long to look at a block's eighteen tensors as the kernel takes for the block. So the
tensors are read in one call (``attnzoo.ops.reading``), and the kernel checks their shapes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnzoo.ops import dispatch, eligibility
from attnzoo.ops.gate_listener import listened
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.reading import Contents, Parts, Table, read


class ModuleLink(NamedTuple):
    """A block of a chain.

    Attributes:
        block: The module.
        table: What it must be. It holds three stages one after the other, each a convolution (weight, bias) and a norm
            (weight, bias, running mean, running variance); its numbers are the groups of the first and three epsilons.
        pool: Whether the maximum of each 2x2 pixels is handed on.
        maps: Guiding maps (B, n, H, W) of the dtype of the block's input, or None.
        plus: A channel is multiplied by its map plus this.
    """

    block: nn.Module
    table: Table
    pool: bool
    maps: Tensor | None
    plus: float


def chain_of_modules(x: Tensor, links: Sequence[ModuleLink], between: Parts = ()) -> Tensor | None:
    """Return what blocks make of ``x``, one after the other, or None where a kernel may not take their place.

    That is where gradients are on, where a recorder listens, where ``read`` finds anything unusual, and where a shape
    does not fit.

    Args:
        x: Map (B, C, H, W).
        links: The blocks.
        between: Modules that are not called, with their tables.

    Returns:
        The last block's map (B, C', H', W'), contiguous, of the dtype of ``x``.
    """
    if torch.is_grad_enabled() or not eligibility.plain_eager() or listened() or not dispatch.native_is_built():
        return None
    maps = [link.maps for link in links]
    if not links or x.dim() != 4 or not eligibility.plain(x, *maps):
        return None
    parts = (*[(link.block, link.table) for link in links], *between)
    found = read(parts, (x.contiguous(), *[None if each is None else each.contiguous() for each in maps]))
    if found is None:
        return None
    from attnzoo.kernels.cpu.igc import launch

    record, tensors = found
    batch, _, height, width = x.shape
    last, pools = tensors[-6], sum([link.pool for link in links])
    if last is None:
        return None
    y = x.new_empty((batch, len(last), height >> pools, width >> pools))
    options = [value for link in links for value in (float(link.pool), link.plus)]
    if not launch.igc_chain(len(links), record + struct.pack(f"={len(options)}d", *options), y):
        return None
    eligibility.note("igc_chain", "native", None)
    return y


def stages(held: Contents) -> list[Stage] | None:
    """Return the stages of blocks, three of each, of what their modules hold, or None if one keeps no statistics."""
    epsilons = [number for place, number in enumerate(held.numbers) if place % 4]
    made = []
    for place, epsilon in enumerate(epsilons):
        weight, bias, gain, offset, mean, variance = held.tensors[6 * place : 6 * place + 6]
        if weight is None or mean is None or variance is None:
            return None
        made.append(Stage(weight, bias, gain, offset, mean, variance, epsilon))
    return made
