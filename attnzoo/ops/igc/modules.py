"""CEDNN's blocks in evaluation, computed by one kernel from the modules that hold their weights.

For one small image, reading a block's eighteen tensors in Python takes as long as the kernel. So the tensors are read
in one call (``attnzoo.ops.reading``), and the kernel checks their shapes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnzoo.ops import dispatch, eligibility
from attnzoo.ops.gate_listener import has_listener
from attnzoo.ops.igc.stage import Stage
from attnzoo.ops.reading import Contents, Parts, Table, read


class ModuleLink(NamedTuple):
    """A block of a chain.

    Attributes:
        block: The module.
        table: Its table. The tensors are those of three stages one after the other, each a convolution (weight, bias)
            and a norm (weight, bias, running mean, running variance); the numbers are the groups of the first
            convolution and the three epsilons.
        pool: Whether the output is max-pooled 2x2.
        maps: Guiding maps (B, n, H, W) of the dtype of the block's input, or None.
        plus: Added to the maps before the channels are multiplied by them.
    """

    block: nn.Module
    table: Table
    pool: bool
    maps: Tensor | None
    plus: float


def chain_of_modules(x: Tensor, links: Sequence[ModuleLink], between: Parts = ()) -> Tensor | None:
    """Apply blocks one after the other by one kernel; return None where their modules must be called.

    They must be called if gradients are on, if a recorder is active, if ``read`` returns None, or if a shape does not
    fit.

    Args:
        x: Map (B, C, H, W), the first block's input.
        links: The blocks.
        between: Modules between the blocks whose work the kernel also does, with their tables.

    Returns:
        The last block's map (B, C', H', W'), contiguous, of the dtype of ``x``.
    """
    if torch.is_grad_enabled() or not eligibility.plain_eager() or has_listener() or not dispatch.native_is_built():
        return None
    maps = [link.maps for link in links]
    if not links or x.dim() != 4 or not eligibility.plain(x, *maps):
        return None
    parts = (*[(link.block, link.table) for link in links], *between)
    values = read(parts, (x.contiguous(), *[None if each is None else each.contiguous() for each in maps]))
    if values is None:
        return None
    from attnzoo.kernels.cpu.igc import launch

    record, tensors = values
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


def stages(values: Contents) -> list[Stage] | None:
    """Return three stages for each block from the values of its modules, or None if a norm keeps no statistics."""
    epsilons = [number for index, number in enumerate(values.numbers) if index % 4]
    result = []
    for index, epsilon in enumerate(epsilons):
        weight, bias, gain, offset, mean, variance = values.tensors[6 * index : 6 * index + 6]
        if weight is None or mean is None or variance is None:
            return None
        result.append(Stage(weight, bias, gain, offset, mean, variance, epsilon))
    return result
