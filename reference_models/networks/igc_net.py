"""IGC-L24M2, a baseline in Tables 4 to 6 of the CEDNN paper.

T. Zhang, G.-J. Qi, B. Xiao, J. Wang, "Interleaved Group Convolutions for Deep Neural Networks", ICCV 2017.

A 3x3 stem, three stages of six blocks, an average pool and a linear classifier. A block is an interleaved pair of
grouped convolutions (:class:`attnzoo.InterleavedGroupConv`) with a shortcut.

Differences from the paper: CEDNN prints the parameter and operation counts of this baseline, not its layers. These
layers reproduce both counts: stride 2 in the first block of each stage, twice the channels in the last block, every
convolution with a bias, a 1x1 convolution with normalisation as the shortcut where the shape changes.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import InterleavedGroupConv
from reference_models import checks

BLOCKS_PER_STAGE = 6


class ResidualInterleavedBlock(nn.Module):
    """An interleaved pair of grouped convolutions, a shortcut, and a ReLU.

    Args:
        channels: Input channels.
        out_channels: Output channels.
        groups: Groups L of the 3x3 convolution.
        stride: Stride of the 3x3 convolution.
        **factory: ``device`` and ``dtype`` of the parameters.
    """

    def __init__(self, channels: int, out_channels: int, groups: int, stride: int, **factory: Any) -> None:
        super().__init__()
        self.branch = InterleavedGroupConv(channels, out_channels, groups=groups, stride=stride, **factory)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride=stride, **factory),
                nn.BatchNorm2d(out_channels, **factory),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, ``out_channels``, H / stride, W / stride)."""
        return F.relu(self.branch(x) + self.shortcut(x))


class IGCNet(nn.Module):
    """The IGC baseline.

    Args:
        num_aus: Number of action units, one logit each.
        groups: Groups L of the 3x3 convolutions; 24 in the paper.
        secondary: Channels M of each group in the first stage; 2 in the paper. The stem has L*M channels.
        image_size: Side of the square face in pixels, a multiple of 32.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is out of range.

    Example:
        >>> IGCNet(groups=4, image_size=64)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 12])
    """

    def __init__(
        self,
        *,
        num_aus: int = 12,
        groups: int = 24,
        secondary: int = 2,
        image_size: int = 224,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        checks.positive_int("num_aus", num_aus)
        checks.positive_int("groups", groups)
        checks.positive_int("secondary", secondary)
        checks.multiple_of("image_size", image_size, 32)
        self.image_size = image_size
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        widths = [groups * secondary * 2**stage for stage in range(4)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, **factory), nn.BatchNorm2d(widths[0], **factory), nn.ReLU()
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    ResidualInterleavedBlock(
                        channels,
                        out_channels if block == BLOCKS_PER_STAGE - 1 else channels,
                        groups,
                        stride=2 if block == 0 else 1,
                        **factory,
                    )
                    for block in range(BLOCKS_PER_STAGE)
                )
            )
            for channels, out_channels in itertools.pairwise(widths)
        )
        self.fc = nn.Linear(widths[-1] * (image_size // 32) ** 2, num_aus, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit for each action unit, (B, ``num_aus``), from RGB faces (B, 3, H, W).

        Raises:
            TypeError: If ``x`` is not a floating tensor.
            ValueError: If its shape does not fit.
        """
        checks.images("x", x, self.image_size)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.fc(F.avg_pool2d(x, 4).flatten(1))
        return logits
