"""CEDNN in evaluation and without gradients: every block one fused operation, nothing between two blocks.

The difference maps and the squeeze-and-excitation of a block's output are applied where the next block reads its
input. Max-pooling and the averages that the latter needs are taken where a block makes its output: a gate is not
negative, so that the largest of four stays the largest. The parameters are read as they are at every call, so that
nothing can go stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnzoo import DifferenceGate, IGCBlock, SqueezeExcite, ops

if TYPE_CHECKING:
    from reference_models.cednn import CEDNN

Stages = Sequence[ops.Stage]


def features(network: CEDNN, x: Tensor, maps: Tensor | None) -> Tensor | None:
    """Return what the blocks of ``network`` make, or None where they must be called.

    That is in training, where a gradient may be wanted, in a trace, where a module is watched by hooks, and where one
    is not the kind that the network was made with.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or not isinstance(x, Tensor)
    if network.training or torch.is_grad_enabled() or traced:
        return None
    made = _past_python(network, x, maps)
    if made is not None:
        return made
    stages = _stages(network)
    return None if stages is None else _by_stages(network, stages, x, maps)


def _past_python(network: CEDNN, x: Tensor, maps: Tensor | None) -> Tensor | None:
    """Return the features where nothing but maps stands between blocks, and nothing is out of the ordinary."""
    own: Mapping[str, Any] = network._modules  # noqa: SLF001 - for one image each attribute of a module counts
    stack, *lists = own["stack"], own["blocks"], own["block_layers"], own["gates"]
    blocks, layers, gates = (each._modules.values() for each in lists)  # noqa: SLF001
    if type(next(iter(layers))) is not nn.Identity or type(stack) is not DifferenceGate:
        return None
    if maps is not None:
        stack.check(x, maps)
    links: list[tuple[Any, bool, Tensor | None, float]] = []
    for i, block in enumerate(blocks):
        guide = maps if i < network.attention_blocks else None
        links.append((block, i + 1 < len(blocks), guide, float(i > 0 and network.map_form == "add")))
        if guide is not None and i + 1 < network.attention_blocks:
            maps = ops.halve(guide)
    return IGCBlock.chain(x, tuple(links), beside=(stack, *gates, *layers), kinds=(DifferenceGate, nn.Identity))


def _stages(network: CEDNN) -> list[Stages] | None:
    blocks, around = list(network.blocks), [network.stack, *network.gates, *network.block_layers]
    kinds = (DifferenceGate, SqueezeExcite, nn.Identity)
    ours = all([type(block) is IGCBlock for block in blocks]) and all([type(m) in kinds for m in around])  # noqa: C419
    if not ours or ops.watched(*blocks, *around):
        return None
    stages = [block.stages() for block in blocks]
    found = [each for each in stages if each is not None]
    return found if len(found) == len(stages) else None


def _by_stages(network: CEDNN, stages: Sequence[Stages], x: Tensor, maps: Tensor | None) -> Tensor:
    if maps is not None:
        network.stack.check(x, maps)
    gate: Tensor | None = None
    chain: list[ops.IGCLink] = []  # blocks that need nothing of each other but the map
    for i, (block, layer) in enumerate(zip(network.blocks, network.block_layers, strict=True)):
        guide = maps if i < network.attention_blocks else None
        if guide is not None and i > 0:
            ops.note_gates(network.gates[i - 1], {"maps": guide}, hard=True)
        residual = i > 0 and network.map_form == "add"
        link = ops.IGCLink(stages[i], block.branch.groups, i + 1 < len(stages), guide, residual, gate)
        if guide is not None and i + 1 < network.attention_blocks:
            maps = ops.halve(guide)
        if isinstance(layer, SqueezeExcite):
            made = ops.igc_block(ops.igc_chain(x, chain) if chain else x, **link._asdict(), means=True)
            (gate,) = layer.gates(made.means[:, :, None, None].to(x.dtype))
            x, chain = made.map, []
        else:
            gate = None
            chain.append(link)
    x = ops.igc_chain(x, chain) if chain else x
    return x if gate is None else x * gate


def is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Tell whether a module is just one of these kinds, and nobody watches it."""
    return type(module) in kinds and not ops.watched(module)
