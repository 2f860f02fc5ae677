"""DBA-Net, a backbone with densely backward attention for facial expressions.

C.-H. Hua, T. Huynh-The, H. Seo, S. Lee, "Convolutional Network with Densely Backward Attention for Facial Expression
Recognition", IMCOM 2020.

A backbone's last four feature maps, :class:`attnzoo.DenselyBackwardAttention`, and one linear classifier on the pooled
vector. Strategies: ``dba``; ``aw_o_db``, attention without the dense backward concatenation; ``baseline``, the backbone
with its own head.

Differences from the paper: none in the equations. Of its nine parameter counts eight agree; it prints 15.94 M for
VGG-16 with ``dba`` where four taps give 15.84 M (a misprint, or a fifth tap of 64 channels). VGG-16 is the one with
batch normalisation, as its counts say. The taps of VGG-16 have strides 2 to 16, not 4 to 32 as its text says. The last
tap of DenseNet-161 is after its final normalisation.
"""

from __future__ import annotations

from typing import Literal, cast

import timm
import torch
import torchvision
from torch import Tensor, nn

from attnzoo import DenselyBackwardAttention
from reference_models import checks
from reference_models.networks.paper_backbones import PAPER_BACKBONES

NUM_TAPS = 4


RAF_DB_EXPRESSIONS = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")

Strategy = Literal["dba", "aw_o_db", "baseline"]


class TappedChain(nn.ModuleDict):
    """Runs the children of a backbone one after the other and returns the outputs of some of them.

    Args:
        backbone: Module whose children form a chain; they keep their names. Those after the last tap are dropped.
        taps: Names of the children whose outputs are returned, in order.
    """

    def __init__(self, backbone: nn.Module, taps: tuple[str, ...]) -> None:
        names = [name for name, _ in backbone.named_children()]
        super().__init__({name: backbone.get_submodule(name) for name in names[: names.index(taps[-1]) + 1]})
        self.taps = taps

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the tapped maps, shallow to deep."""
        maps = []
        for name, module in self.items():
            x = module(x)
            if name in self.taps:
                maps.append(x)
        return maps


class TimmTaps(nn.Module):
    """The last four feature maps of a timm model, as (B, C, H, W)."""

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        self.features = timm.create_model(name, pretrained=pretrained, features_only=True)
        self.channels = tuple(self.features.feature_info.channels()[-NUM_TAPS:])
        self.channels_last = getattr(self.features, "output_fmt", "NCHW") == "NHWC"

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps, shallow to deep."""
        maps = self.features(x)[-NUM_TAPS:]
        return [each.permute(0, 3, 1, 2) for each in maps] if self.channels_last else list(maps)


class DBANet(nn.Module):
    """The network of the paper, on any backbone.

    Args:
        backbone: ``vgg16_bn``, ``resnet101`` or ``densenet161`` (torchvision's, the paper's), or any timm model that
            returns feature maps, such as ``"convnext_atto"``; ``"timm/resnet101"`` is timm's model of that name.
        strategy: ``dba``, ``aw_o_db`` or ``baseline``.
        num_classes: Expressions, one logit each; the paper's seven are :data:`RAF_DB_EXPRESSIONS`.
        rd_ratio: Bottleneck width of the attention over channels; the paper's is 1/16.
        width: Channels of the first convolution of one of the paper's backbones; all other channels scale with it. None
            is the published width (VGG-16 and ResNet-101: 64; DenseNet-161: 96, and any other width must be even).
        pretrained: Load the backbone's ImageNet weights, as the paper does; needs internet access or a cached download.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``backbone`` or ``strategy`` is unknown, or the backbone returns no feature maps.

    Example:
        >>> DBANet("timm/resnet10t", num_classes=7)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        backbone: str = "resnet101",
        *,
        strategy: Strategy = "dba",
        num_classes: int = 7,
        rd_ratio: float = 1 / 16,
        width: int | None = None,
        pretrained: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        checks.one_of("strategy", strategy, ("dba", "aw_o_db", "baseline"))
        checks.positive_int("num_classes", num_classes)
        checks.flag("pretrained", pretrained)
        name = backbone.removeprefix("timm/")
        if backbone not in PAPER_BACKBONES and not timm.is_model(name):
            raise ValueError(
                f"backbone must be one of {', '.join(PAPER_BACKBONES)} or a timm model name, got {backbone!r}"
            )
        if width is not None:
            checks.positive_int("width", width)
            if backbone not in PAPER_BACKBONES or pretrained:
                raise ValueError(f"width must be None for timm models and with pretrained=True, got {width}")
        self.strategy = strategy
        with torch.device(device if device is not None else torch.get_default_device()):
            if strategy == "baseline":
                self.backbone = _classifier(backbone, num_classes, width, pretrained=pretrained)
            else:
                self.backbone, channels = _pyramid(backbone, width, pretrained=pretrained)
                self.attention = DenselyBackwardAttention(channels, strategy=strategy, rd_ratio=rd_ratio)
                self.fc = nn.Linear(self.attention.out_channels, num_classes)
        self.to(dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, ``num_classes``) of RGB faces (B, 3, H, W); 100x100 in the paper.

        Raises:
            TypeError: If ``x`` is not a floating tensor.
            ValueError: If its shape does not fit.
        """
        checks.images("x", x)
        logits: Tensor = self.backbone(x) if self.strategy == "baseline" else self.fc(self.attention(self.backbone(x)))
        return logits


def _classifier(backbone: str, num_classes: int, width: int | None, *, pretrained: bool) -> nn.Module:
    """Return the backbone with its classification head, whose last layer has ``num_classes`` outputs."""
    if backbone not in PAPER_BACKBONES:
        network: nn.Module = timm.create_model(
            backbone.removeprefix("timm/"), pretrained=pretrained, num_classes=num_classes
        )
        return network
    model = _torchvision_model(backbone, width, pretrained=pretrained)
    head = PAPER_BACKBONES[backbone].head
    parent, _, name = head.rpartition(".")
    classifier = nn.Linear(cast("nn.Linear", model.get_submodule(head)).in_features, num_classes)
    setattr(model.get_submodule(parent), name, classifier)
    return model


def _pyramid(backbone: str, width: int | None, *, pretrained: bool) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a module that returns the four tapped maps, and the number of channels of each map."""
    if backbone in PAPER_BACKBONES:
        paper = PAPER_BACKBONES[backbone]
        chain = _torchvision_model(backbone, width, pretrained=pretrained).get_submodule(paper.chain)
        return TappedChain(chain, paper.taps), paper.channels_at(paper.width if width is None else width)
    try:
        taps = TimmTaps(backbone.removeprefix("timm/"), pretrained=pretrained)
    except (RuntimeError, AttributeError, AssertionError) as error:  # timm raises these for models without feature maps
        raise ValueError(f"backbone {backbone!r} gives no feature maps: {error}") from error
    return taps, taps.channels


def _torchvision_model(backbone: str, width: int | None, *, pretrained: bool) -> nn.Module:
    if width is not None:
        return PAPER_BACKBONES[backbone].narrow(width)
    model: nn.Module = torchvision.models.get_model(backbone, weights="IMAGENET1K_V1" if pretrained else None)
    return model
