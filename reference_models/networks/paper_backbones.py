"""DBA-Net's backbones from torchvision, at the published width or with all channels scaled by one factor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.vgg import make_layers

from reference_models.checks import multiple_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperBackbone:
    """One of the paper's three backbones, as torchvision builds it.

    Attributes:
        chain: Name of the submodule whose children run one after the other; empty for the model itself.
        taps: Children of the chain whose outputs are the four maps.
        channels: Channels of the maps at full width, the paper's Table I.
        head: Name of the last linear layer.
        width: Channels of its first convolution.
        narrow: Builds it with another number of channels there; all other channels scale by the same factor.
    """

    chain: str
    taps: tuple[str, ...]
    channels: tuple[int, ...]
    head: str
    width: int
    narrow: Callable[[int], nn.Module]

    def channels_at(self, width: int) -> tuple[int, ...]:
        """Return the channels of the four maps of a backbone whose first convolution has ``width`` channels."""
        return tuple(count * width // self.width for count in self.channels)


class NarrowResNet101(torchvision.models.ResNet):  # type: ignore[misc]
    """ResNet-101 of any width.

    Args:
        width: Channels of the stem; torchvision's is 64.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(Bottleneck, [3, 4, 23, 3])
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(32 * width, 1000)

    def _make_layer(self, block: type[nn.Module], planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        """Return torchvision's stage with ``planes`` scaled to this network's width."""
        if planes == 64:
            self.inplanes = self.width
        stage: nn.Sequential = super()._make_layer(block, planes * self.width // 64, *args, **kwargs)
        return stage


def _vgg16_bn(width: int) -> nn.Module:
    stages = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
    plan: list[str | int] = []
    for factor, convolutions in stages:
        plan += [*[factor * width] * convolutions, "M"]
    model = torchvision.models.VGG(make_layers(plan, batch_norm=True))
    hidden = 64 * width
    linears = [nn.Linear(8 * width * 49, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1000)]
    for index, linear in zip((0, 3, 6), linears, strict=True):
        nn.init.normal_(linear.weight, 0, 0.01)  # as torchvision's
        nn.init.zeros_(linear.bias)
        model.classifier[index] = linear
    return cast("nn.Module", model)


def _densenet161(width: int) -> nn.Module:
    multiple_of("width", width, 2)
    model: nn.Module = torchvision.models.DenseNet(width // 2, (6, 12, 36, 24), width)
    return model


PAPER_BACKBONES: Mapping[str, PaperBackbone] = MappingProxyType(
    {
        "vgg16_bn": PaperBackbone(
            chain="features",
            taps=("12", "22", "32", "42"),
            channels=(128, 256, 512, 512),
            head="classifier.6",
            width=64,
            narrow=_vgg16_bn,
        ),
        "resnet101": PaperBackbone(
            chain="",
            taps=("layer1", "layer2", "layer3", "layer4"),
            channels=(256, 512, 1024, 2048),
            head="fc",
            width=64,
            narrow=NarrowResNet101,
        ),
        "densenet161": PaperBackbone(
            chain="features",
            taps=("denseblock1", "denseblock2", "denseblock3", "norm5"),
            channels=(384, 768, 2112, 2208),
            head="classifier",
            width=96,
            narrow=_densenet161,
        ),
    }
)
