"""CEDNN's blocks: one list of what follows what, and the ways of computing it.

``Link`` says of each block whether difference maps modulate its input, what stands behind it and whether it is pooled.
``by_modules`` calls the modules one after the other, in training too. ``fused`` computes the same in evaluation without
gradients, each block as one operation and nothing between two blocks: maps, and the squeeze-and-excitation of the block
before, are applied where a block reads its input; max-pooling, and the averages that the latter needs, are taken where
a block writes its output (a gate is not negative, so the largest of four stays the largest). The parameters are read
as they are at every call, so that nothing can go stale.
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
    """One block and what belongs to it.

    Attributes:
        gate: By which difference maps modulate the block's input, or None. Only the first blocks have one.
        block: The block.
        behind: What its output goes through: squeeze-and-excitation or nothing.
        pool: Whether that is then max-pooled, and so are the maps of the blocks that follow.
    """

    gate: DifferenceGate | None
    block: IGCBlock
    behind: nn.Module
    pool: bool


def by_modules(links: Sequence[Link], x: Tensor, maps: Tensor | None) -> Tensor:
    """Return what the blocks make of faces (B, 3, H, W), module by module; ``torch.fx`` makes a graph of it."""
    symbolic, channels = not isinstance(x, Tensor), 3
    for link, own_maps in _with_maps(links, maps):
        if link.gate is not None and own_maps is not None:
            x, channels = link.gate(x, own_maps), link.gate.out_channels
        times = link.block.channels // channels
        x, channels = (x.repeat(1, times, 1, 1) if times > 1 else x), link.block.out_channels
        alone = not symbolic and is_plain(link.behind, nn.Identity)
        if not symbolic and x.device.type == "cpu" and not (alone and link.block.trains_by_passes(x)):
            # small groups and max-pooling are slow in contiguous maps
            x = ops.channels_last(x)
        if alone and link.pool:
            x = link.block.pooled(x)
        else:
            x = link.behind(link.block(x))
            x = F.max_pool2d(x, 2) if link.pool else x
    return x


def fused(links: Sequence[Link], x: Tensor, maps: Tensor | None) -> Tensor | None:
    """Return what ``by_modules`` returns, or None where the modules must be called.

    That is in training, where a gradient may be wanted, where a graph is made, where anybody waits for one of the
    modules to be called, and where one is not of the kind that the network was made with.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if traced or not isinstance(x, Tensor) or torch.is_grad_enabled():
        return None
    if links[0].gate is not None and maps is not None:
        links[0].gate.check(x, maps)
    steps = list(_with_maps(links, maps))
    between = [module for link in links for module in (link.gate, link.behind) if module is not None]
    if type(links[0].behind) is nn.Identity:
        chain = [(link.block, link.pool, own_maps, _plus(link)) for link, own_maps in steps]
        made = IGCBlock.chain(x, chain, between=between, kinds=(DifferenceGate, nn.Identity))
        if made is not None:
            return made
    if not all([is_plain(module, DifferenceGate, SqueezeExcite, nn.Identity) for module in between]):  # noqa: C419
        return None
    return _by_stages(steps, x)


def _by_stages(steps: Sequence[tuple[Link, Tensor | None]], x: Tensor) -> Tensor | None:
    """Return what the blocks make, by one operation wherever nothing but maps stands between them."""
    found = [link.block.stages() for link, _ in steps]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    gate: Tensor | None = None
    chain: list[igc.IGCLink] = []  # blocks that need nothing of each other but the map
    for (link, own_maps), stages in zip(steps, known, strict=True):
        if link.gate is not None and own_maps is not None:
            ops.note_gates(link.gate, {"maps": own_maps}, hard=True)
        step = igc.IGCLink(stages, link.block.branch.groups, link.pool, own_maps, bool(_plus(link)), gate)
        gate = None
        if isinstance(link.behind, SqueezeExcite):
            made = igc.igc_block(igc.igc_chain(x, chain) if chain else x, **step._asdict(), means=True)
            (gate,) = link.behind.gates(cast("Tensor", made.means)[:, :, None, None].to(x.dtype))
            x, chain = made.map, []
        else:
            chain.append(step)
    x = igc.igc_chain(x, chain) if chain else x
    return x if gate is None else x * gate


def _with_maps(links: Sequence[Link], maps: Tensor | None) -> Iterator[tuple[Link, Tensor | None]]:
    """Yield every link with the maps that modulate its input, as often halved as the features were until there."""
    pooled = False
    for link in links:
        if link.gate is None or maps is None:
            yield link, None
            continue
        if pooled:
            maps = igc.halve(maps) if isinstance(maps, Tensor) else F.max_pool2d(maps, 2)  # a node of torch.fx
        yield link, maps
        pooled = link.pool


def _plus(link: Link) -> float:
    """Return what is added to the maps before channels are multiplied by them."""
    return float(link.gate is not None and link.gate.form == "add")


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Tell whether a module is just one of these kinds, and nobody waits for it to be called."""
    return type(module) in kinds and ops.why_called(module) is None
