"""CEDNN in evaluation and without gradients: every block one fused operation, nothing between two blocks.

The difference maps and the squeeze-and-excitation of a block's output are applied where the next block reads its input;
max-pooling and the averages for the latter are taken where a block makes its output: a gate is not negative, so that the
largest of four stays the largest. The parameters are read as they are at every call, so that nothing can go stale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import DifferenceGate, IGCBlock, SqueezeExcite, ops

if TYPE_CHECKING:
    from reference_models.cednn import CEDNN

Stages = Sequence[ops.Stage]


def plan(network: CEDNN) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """Return a function that computes what the blocks of ``network`` make, or None where they must be called themselves.

    That is in training, where a gradient may be wanted, where a module is watched by hooks, and where one is not the
    kind that the network was made with.
    """
    if network.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    around = [network.stack, *network.gates, *network.block_layers]
    kinds = (DifferenceGate, SqueezeExcite, nn.Identity)
    if not all(_is_plain(block, IGCBlock) for block in network.blocks) or not all(_is_plain(m, *kinds) for m in around):
        return None
    stages = [block.stages() for block in network.blocks]
    found = [each for each in stages if each is not None]
    return (lambda x, maps: _features(network, found, x, maps)) if len(found) == len(stages) else None


def _features(network: CEDNN, stages: Sequence[Stages], x: Tensor, maps: Tensor | None) -> Tensor:
    if maps is not None:
        network.stack.gates(x, maps)  # checks them
    gate: Tensor | None = None
    for i, (block, layer) in enumerate(zip(network.blocks, network.block_layers, strict=True)):
        guide = maps if i < network.attention_blocks else None
        made = ops.igc_block(
            x,
            stages[i],
            groups=block.branch.groups,
            pool=i + 1 < len(stages),
            maps=guide,
            residual=i > 0 and network.map_form == "add",
            gate=gate,
            means=isinstance(layer, SqueezeExcite),
        )
        x, gate = made.map, None
        if made.means is not None:
            (gate,) = layer.gates(made.means[:, :, None, None].to(x.dtype))
        if guide is not None and i + 1 < network.attention_blocks:
            maps = F.max_pool2d(guide, 2)
    return x if gate is None else x * gate


def whole(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return a convolution whose kernel covers all of ``x``, (B, C', 1, 1), as a product of matrices, which is faster."""
    if not _is_plain(conv, nn.Conv2d) or conv.kernel_size != x.shape[2:]:
        made: Tensor = conv(x)
        return made
    return F.linear(x.flatten(1), conv.weight.flatten(1), conv.bias)[:, :, None, None]


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    return type(module) in kinds and not (module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001
