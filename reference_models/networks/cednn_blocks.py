"""CEDNN's blocks: the list of blocks with the layers around them, and two ways to compute it.

A ``Link`` holds a block, the gate on its input, the layer on its output, and whether the result is max-pooled.
``by_modules`` calls the modules one after the other; it also serves training. ``fused`` computes the same in evaluation
without gradients, with one operation per block. That operation applies the maps, and the squeeze-and-excitation gate of
the block before, while it reads its input; it max-pools, and averages for its squeeze-and-excitation, while it writes
its output. Pooling before the gate is applied is exact because gates are not negative. Parameters are read at every
call, so no cached copy can become stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import DifferenceGate, IGCBlock, SqueezeExcite, ops
from attnzoo.ops import igc


class Link(NamedTuple):
    """One block with the layers around it.

    Attributes:
        gate: Multiplies the block's input by the difference maps; None for later blocks, which take no maps.
        block: The block.
        output_layer: Layer on the block's output: squeeze-and-excitation or ``nn.Identity``.
        pool: Whether a 2x2 max-pooling follows; it then also halves the maps of the later blocks.
    """

    gate: DifferenceGate | None
    block: IGCBlock
    output_layer: nn.Module
    pool: bool


def by_modules(links: Sequence[Link], x: Tensor, maps: Tensor | None) -> Tensor:
    """Return the features of faces (B, 3, H, W) by calling module after module; ``torch.fx`` can trace it."""
    symbolic, channels = not isinstance(x, Tensor), 3
    for link, block_maps in _with_maps(links, maps):
        if link.gate is not None and block_maps is not None:
            x, channels = link.gate(x, block_maps), link.gate.out_channels
        times = link.block.channels // channels
        x, channels = (x.repeat(1, times, 1, 1) if times > 1 else x), link.block.out_channels
        alone = not symbolic and is_plain(link.output_layer, nn.Identity)
        if not symbolic and x.device.type == "cpu" and not (alone and link.block.trains_by_passes(x)):
            # small groups and max-pooling are slow in contiguous maps
            x = ops.channels_last(x)
        if alone and link.pool:
            x = link.block.pooled(x)
        else:
            x = link.output_layer(link.block(x))
            x = F.max_pool2d(x, 2) if link.pool else x
    return x


def fused(links: Sequence[Link], x: Tensor, maps: Tensor | None) -> Tensor | None:
    """Return the result of ``by_modules``, computed by fused operations, or None where the modules must be called.

    The modules must be called in training, with gradients enabled, while a graph is traced or compiled, if a module has
    a hook or another observer of its call, and if a module was replaced by one of another class.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if traced or not isinstance(x, Tensor) or torch.is_grad_enabled():
        return None
    if links[0].gate is not None and maps is not None:
        links[0].gate.check(x, maps)
    steps = list(_with_maps(links, maps))
    between = [module for link in links for module in (link.gate, link.output_layer) if module is not None]
    if type(links[0].output_layer) is nn.Identity:
        chain = [(link.block, link.pool, block_maps, _map_offset(link)) for link, block_maps in steps]
        features = IGCBlock.chain(x, chain, between=between, kinds=(DifferenceGate, nn.Identity))
        if features is not None:
            return features
    if not all([is_plain(module, DifferenceGate, SqueezeExcite, nn.Identity) for module in between]):  # noqa: C419
        return None
    return _by_stages(steps, x)


def _by_stages(steps: Sequence[tuple[Link, Tensor | None]], x: Tensor) -> Tensor | None:
    """Return the blocks' features, or None if a block has no stages; one operation for blocks with only maps between.

    Args:
        steps: The links in order, each with the maps for its gate.
        x: Faces (B, 3, H, W).
    """
    block_stages = [link.block.stages() for link, _ in steps]
    known = [stages for stages in block_stages if stages is not None]
    if len(known) < len(block_stages):
        return None
    gate: Tensor | None = None
    chain: list[igc.IGCLink] = []  # blocks without squeeze-and-excitation between them, computed by one operation
    for (link, block_maps), stages in zip(steps, known, strict=True):
        if link.gate is not None and block_maps is not None:
            ops.note_gates(link.gate, {"maps": block_maps}, hard=True)
        step = igc.IGCLink(stages, link.block.branch.groups, link.pool, block_maps, bool(_map_offset(link)), gate)
        gate = None
        if isinstance(link.output_layer, SqueezeExcite):
            output = igc.igc_block(igc.igc_chain(x, chain) if chain else x, **step._asdict(), means=True)
            (gate,) = link.output_layer.gates(cast("Tensor", output.means)[:, :, None, None].to(x.dtype))
            x, chain = output.map, []
        else:
            chain.append(step)
    x = igc.igc_chain(x, chain) if chain else x
    return x if gate is None else x * gate


def _with_maps(links: Sequence[Link], maps: Tensor | None) -> Iterator[tuple[Link, Tensor | None]]:
    """Yield every link with the maps for its gate, max-pooled as often as the features were before it."""
    pooled = False
    for link in links:
        if link.gate is None or maps is None:
            yield link, None
            continue
        if pooled:
            maps = igc.halve(maps) if isinstance(maps, Tensor) else F.max_pool2d(maps, 2)  # a node of torch.fx
        yield link, maps
        pooled = link.pool


def _map_offset(link: Link) -> float:
    """Return the number added to the maps before the channels are multiplied by them: 1 for x + x*m, 0 for x*m."""
    return float(link.gate is not None and link.gate.form == "add")


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module is exactly of one of these classes, and no hook or other observer needs its call."""
    return type(module) in kinds and ops.why_called(module) is None
