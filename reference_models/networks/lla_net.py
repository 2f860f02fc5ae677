"""LLA-Net, a ResNet-18 with lossless attention for facial expressions.

C. Wang, R. Hu, M. Hu, J. Liu, T. Ren, S. He, M. Jiang, J. Miao, "Lossless Attention in Convolutional Networks for
Facial Expression Recognition in the Wild", FG 2020.

torchvision's ResNet-18 whose first convolution has stride 1 ("does not change the size"), with a :class:`attnzoo.LLAM`
in each of its eight blocks. Parameter names are torchvision's, with an additional ``llam`` in each block, so that
ResNet-18 checkpoints load without renaming.

Differences from the paper: none known. It prints neither the kernel size nor where in a block the module sits; the
argument ``placement`` chooses. ``conv``, the default: F_pre is the output of the block's first convolution after
normalisation and ReLU, F_cur that of its second after normalisation, before the shortcut is added, so that both have
the same shape in every block. ``block``: F_pre is the block's input, after the shortcut's projection where the shape
changes, F_cur the block's output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from attnzoo import LLAM
from attnzoo.ops import convolve
from reference_models import checks
from reference_models.weights import load_weights

RESNET_WIDTH = 64
AFF_WILD2_EXPRESSIONS = ("Anger", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")


class LosslessBlock(nn.Module):
    """A ResNet block with a lossless attention module.

    Args:
        block: torchvision's block, whose layers are reused under the same names.
        kernel_size: Kernel of the LLAM.
        placement: ``conv`` or ``block``, see the module docstring.
    """

    def __init__(self, block: BasicBlock, kernel_size: int, placement: Literal["conv", "block"]) -> None:
        super().__init__()
        self.placement = placement
        self.conv1, self.bn1 = block.conv1, block.bn1
        self.conv2, self.bn2 = block.conv2, block.bn2
        self.relu = block.relu
        self.downsample = block.downsample
        weight = block.conv2.weight
        self.llam = LLAM(weight.shape[0], kernel_size=kernel_size, device=weight.device, dtype=weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, C, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        previous = self.relu(self.bn1(convolve(self.conv1, x)))
        current = self.bn2(convolve(self.conv2, previous))
        output: Tensor
        if self.placement == "conv":
            output = self.llam(previous, current, shortcut=shortcut, relu=True)
        else:
            output = self.llam(shortcut, self.relu(current + shortcut))
        return output


class LLANet(torchvision.models.ResNet):  # type: ignore[misc]
    """The network of the paper.

    Args:
        num_classes: Expressions, one logit each; the paper's seven are :data:`AFF_WILD2_EXPRESSIONS`.
        kernel_size: Odd kernel of the attention's convolution, such as 3 (the default) or 1; the paper prints none.
        placement: Where in a block the attention sits, ``conv`` or ``block``, see the module docstring.
        attention: False builds the plain ResNet-18 with the same stem, to compare with.
        width: Channels of the stem and the first stage, doubled in each later stage; 64 in the paper and in ResNet-18.
        pretrained: Load torchvision's ImageNet weights into the backbone (the paper's was pre-trained on RAF-DB); needs
            internet access or torchvision's cache.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is not one of those allowed.

    Example:
        >>> LLANet()(torch.rand(1, 3, 112, 112)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        kernel_size: int = 3,
        placement: Literal["conv", "block"] = "conv",
        attention: bool = True,
        width: int = RESNET_WIDTH,
        pretrained: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        checks.positive_int("num_classes", num_classes)
        checks.one_of("placement", placement, ("conv", "block"))
        checks.flag("attention", attention)
        checks.flag("pretrained", pretrained)
        self.width = checks.positive_int("width", width)
        if pretrained and width != RESNET_WIDTH:
            raise ValueError(f"width must be {RESNET_WIDTH} with pretrained=True, got {width}")
        with torch.device(device if device is not None else torch.get_default_device()):
            super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
            if width != RESNET_WIDTH:
                self.conv1 = nn.Conv2d(3, width, 7, padding=3, bias=False)
                nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
                self.bn1 = nn.BatchNorm2d(width)
                self.fc = nn.Linear(8 * width, num_classes)
        self.to(dtype=dtype)
        self.conv1.stride = (1, 1)
        if pretrained:
            weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
            self.load_backbone(weights)
        if attention:
            for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
                for i, block in enumerate(stage):
                    stage[i] = LosslessBlock(block, kernel_size, placement)
        self.to(memory_format=torch.channels_last)

    def _make_layer(self, block: type[nn.Module], planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        """Return torchvision's stage with ``planes`` scaled to this network's width."""
        if planes == RESNET_WIDTH:
            self.inplanes = self.width
        stage: nn.Sequential = super()._make_layer(block, planes * self.width // RESNET_WIDTH, *args, **kwargs)
        return stage

    def load_backbone(self, weights: Mapping[str, Tensor]) -> None:
        """Load a ResNet-18 state dict with torchvision's names; attention and classifier keep their weights.

        Raises:
            ValueError: If keys are missing or unknown, or shapes differ; then nothing is loaded.
        """
        load_weights(self, weights, ignore=("fc.",), keep=("fc.", ".llam."))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, ``num_classes``) of RGB faces (B, 3, H, W); 112x112 in the paper.

        Raises:
            TypeError: If ``x`` is not a floating tensor.
            ValueError: If its shape does not fit.
        """
        checks.images("x", x)
        logits: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return logits
