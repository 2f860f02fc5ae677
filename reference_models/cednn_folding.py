r"""CEDNN for inference: the same function in fewer and larger steps.

Every normalisation is folded into the convolution before it. The grouped 1x1 convolution between two permutations,
:math:`P W^2 P^\top`, becomes one 1x1 convolution with a sparse matrix in natural channel order, so that nothing is
permuted. Weights are laid out channels-last, where small groups and max-pooling are fast on CPUs.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from attnzoo import IGCBlock, InterleavedGroupConv
from reference_models.cednn import CEDNN


def fold(network: CEDNN) -> CEDNN:
    """Return an inference copy of a CEDNN.

    Args:
        network: Trained network; it is left as it is, and later changes to it do not reach the copy.

    Returns:
        A network in evaluation mode with the same inputs and, to rounding, the same outputs as ``network.eval()``. Its
        parameters have other names and take no gradients: keep the original to train and to save.

    Raises:
        TypeError: If ``network`` is no :class:`CEDNN`.
        ValueError: If it is folded already.

    Example:
        >>> network = CEDNN(attention_blocks=0, image_size=32).eval()
        >>> face = torch.rand(1, 3, 32, 32)
        >>> torch.allclose(fold(network)(face), network(face), atol=1e-5)
        True
    """
    if not isinstance(network, CEDNN):
        raise TypeError(f"network must be a CEDNN, got {type(network).__name__}")
    if isinstance(network.blocks[0], FoldedBlock):
        raise ValueError("network is folded already; fold the original")
    folded = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    folded.blocks = nn.ModuleList(FoldedBlock(block) for block in folded.blocks)
    return folded.to(memory_format=torch.channels_last)


class FoldedBlock(nn.Module):
    """An :class:`attnzoo.IGCBlock` in evaluation mode, without normalisations and permutations.

    Args:
        block: The block; its convolutions are copied.
    """

    def __init__(self, block: IGCBlock) -> None:
        super().__init__()
        self.connection = block.connection
        self.branch_layer = block.branch_layer
        self.conv1 = fuse_conv_bn_eval(block.branch.conv1, block.branch.norm1)
        self.conv2 = _in_natural_order(fuse_conv_bn_eval(block.branch.conv2, block.branch.norm2), block.branch)
        self.fuse = fuse_conv_bn_eval(block.fuse, block.norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, C', H, W) of ``x`` (B, C, H, W)."""
        branch = self.branch_layer(self.conv2(F.relu(self.conv1(x))))
        connected = branch + x if self.connection == "res" else torch.cat([branch, x], dim=1)
        return F.relu(self.fuse(F.relu(connected)))


def _in_natural_order(conv: nn.Conv2d, pair: InterleavedGroupConv) -> nn.Conv2d:
    """Return P W P^T as one convolution, for the grouped 1x1 convolution W of a pair."""
    channels = conv.out_channels
    per_group = channels // pair.groups
    # position (member, group) in the permuted order holds channel (group, member) of the natural order
    natural = torch.arange(channels, device=conv.weight.device).view(pair.groups, per_group).t().reshape(-1)
    dense = nn.Conv2d(channels, channels, 1, device=conv.weight.device, dtype=conv.weight.dtype)
    blocks = torch.block_diag(*conv.weight.detach().flatten(1).split(pair.groups))
    with torch.no_grad():
        dense.weight.zero_()
        dense.weight[natural[:, None], natural[None, :], 0, 0] = blocks
        dense.bias[natural] = conv.bias
    return dense.requires_grad_(requires_grad=False)
