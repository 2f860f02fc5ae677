"""TRA-Net, a network for facial action units with one branch for each of three face regions.

Y. Xia, "Upper, Middle and Lower Region Learning for Facial Action Unit Detection", 2020, in two versions (arXiv).

Backbone SENet-50 as trained on VGGFace2; a decoder with skip connections and squeeze-and-excitation; three hard masks
(:class:`attnzoo.RegionMask`); in each branch three :class:`attnzoo.CBAM` without residual connection, convolutions and
pooling, and two fully connected layers for the action units of that region.

Differences from the paper: none known. Points that it does not specify were chosen as follows. The backbone has the
layout of timm's ``legacy_seresnet50`` (stride in the first 1x1 convolution), which is that of the published VGGFace2
weights; timm's ``seresnet50`` would load them and compute something else. Each of the decoder's three steps is a 3x3
convolution without bias, normalisation, ReLU, squeeze-and-excitation, and bilinear up-sampling by 2; after the first
two steps the encoder's map of that size is concatenated. The decoded map is 256 x 56 x 56. ``version="v2"``, the newer
text: after each of the first two CBAMs a residual pair of 3x3 convolutions and 2x2 max-pooling, after the third a pair
without residual and average pooling to 7x7. ``version="v1"``, the early text: the three CBAMs, then average pooling to
7x7. Only the early text gives a size, "around 77M parameters".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Self

import torch
from timm.models.senet import SENet, SEResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import CBAM, RegionMask, SqueezeExcite
from reference_models import checks
from reference_models.weights import load_weights

DISFA_AU_GROUPS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"upper": (1, 2, 4), "middle": (6, 9), "lower": (12, 25, 26)}
)
"""Face region to its action units, as in the paper for DISFA."""

SENET_WIDTH = 64
POOLED_SIZE = 7


class SqueezedBlock(SEResNetBottleneck):  # type: ignore[misc]
    """timm's block with :class:`attnzoo.SqueezeExcite`, which also adds the shortcut and applies the ReLU."""

    def __init__(self, inplanes: int, planes: int, groups: int, reduction: int, *shape: Any, **factory: Any) -> None:
        super().__init__(inplanes, planes, groups, reduction, *shape, **factory)
        channels = planes * self.expansion
        self.se_module = SqueezeExcite(channels, rd_channels=channels // reduction, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, 4 * ``planes``, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        gated: Tensor = self.se_module(y, shortcut=shortcut, relu=True)
        return gated


class SENet50(SENet):  # type: ignore[misc]
    """timm's ``legacy_seresnet50`` without its classifier, in any width.

    Args:
        width: Channels of the stem; 64 is the published network.
        **factory: ``device`` and ``dtype`` of the parameters.
    """

    def __init__(self, width: int, **factory: Any) -> None:
        self.width = width
        super().__init__(SqueezedBlock, (3, 4, 6, 3), groups=1, reduction=16, inplanes=width, num_classes=0, **factory)

    def _make_layer(self, block: type[nn.Module], planes: int, **kwargs: Any) -> nn.Sequential:
        """Return timm's stage with ``planes`` scaled to this network's width."""
        stage: nn.Sequential = super()._make_layer(block, planes * self.width // SENET_WIDTH, **kwargs)
        return stage


class DecoderStep(nn.Module):
    """Convolution, normalisation, ReLU, squeeze-and-excitation and up-sampling.

    Args:
        channels: Input channels.
        out_channels: Output channels.
        se_residual: Whether the squeeze-and-excitation has the residual form, eq. (3).
        **factory: ``device`` and ``dtype`` of the parameters.
    """

    def __init__(self, channels: int, out_channels: int, *, se_residual: bool, **factory: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False, **factory)
        self.norm = nn.BatchNorm2d(out_channels, **factory)
        self.se = SqueezeExcite(out_channels, residual=se_residual, **factory)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return the map (B, ``out_channels``, *size) decoded from ``x`` (B, ``channels``, H, W)."""
        x = self.se(F.relu(self.norm(self.conv(x))))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ConvPair(nn.Module):
    """Two 3x3 convolutions with normalisation, with or without a residual connection, and ReLU.

    Args:
        channels: Channels in and out.
        residual: Whether the input is added before the last ReLU.
        **factory: ``device`` and ``dtype`` of the parameters.
    """

    def __init__(self, channels: int, *, residual: bool, **factory: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, **factory)
        self.norm1 = nn.BatchNorm2d(channels, **factory)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, **factory)
        self.norm2 = nn.BatchNorm2d(channels, **factory)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the shape of ``x``."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + x if self.residual else y)


class TRANet(nn.Module):
    """The network of the paper, with its ablations.

    Args:
        version: ``v2`` is the newer text, ``v1`` the early one.
        hard_mask: Whether each branch sees only its region (Table 2: HM).
        channel_attention: Whether the CBAMs have their channel half.
        spatial_attention: Whether the CBAMs have their spatial half. With neither half there is no CBAM.
        residual: Whether the CBAMs add their input (Table 2: residual structure).
        se_residual: Whether the decoder's squeeze-and-excitation has the residual form of eq. (3).
        au_groups: Region (``upper``, ``middle`` or ``lower``) to its action units.
        freeze: Freeze blocks 1 and 2 (stem and first stage), parameters and running statistics.
        image_size: Side of the square face in pixels.
        width: Channels of the backbone's stem, a multiple of 16; all other channels scale with it. 64 in the paper.
        device: Device of the parameters.
        dtype: Floating dtype of the parameters.

    Attributes:
        aus: The action units in the order of the logits.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a value is not one of those allowed.

    Example:
        >>> network = TRANet(version="v1", image_size=64)
        >>> network(torch.rand(1, 3, 64, 64), torch.tensor([30.0])).shape, network.aus
        (torch.Size([1, 8]), (1, 2, 4, 6, 9, 12, 25, 26))
    """

    def __init__(
        self,
        *,
        version: Literal["v2", "v1"] = "v2",
        hard_mask: bool = True,
        channel_attention: bool = True,
        spatial_attention: bool = True,
        residual: bool = False,
        se_residual: bool = False,
        au_groups: Mapping[str, Sequence[int]] = DISFA_AU_GROUPS,
        freeze: bool = True,
        image_size: int = 224,
        width: int = SENET_WIDTH,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        checks.one_of("version", version, ("v2", "v1"))
        halves: dict[str, Any] = {"channel": channel_attention, "spatial": spatial_attention}
        flags = {"hard_mask": hard_mask, "residual": residual, "freeze": freeze}
        for name, value in ({f"{half}_attention": on for half, on in halves.items()} | flags).items():
            checks.flag(name, value)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.image_size = checks.positive_int("image_size", image_size)
        self.freeze = freeze
        channels = 4 * checks.multiple_of("width", width, 16)  # of the decoded map
        self.mask = RegionMask(channels, frame_height=image_size)
        self.au_groups = _checked_groups(au_groups, tuple(self.mask.regions))
        self.aus = tuple(au for group in self.au_groups.values() for au in group)
        self.hard_mask = hard_mask

        def attention() -> nn.Module:
            return CBAM(channels, **halves, residual=residual, **factory) if any(halves.values()) else nn.Identity()

        self.backbone = SENet50(width, **factory)
        self.decoder = nn.ModuleList(
            DecoderStep(in_factor * channels, out_factor * channels, se_residual=se_residual, **factory)
            for in_factor, out_factor in ((8, 4), (8, 2), (4, 1))
        )
        branch = _branch_v2 if version == "v2" else _branch_v1
        self.branches = nn.ModuleDict(
            {region: branch(attention, channels, len(group), **factory) for region, group in self.au_groups.items()}
        )
        if freeze:
            for block in self._frozen_blocks():
                block.requires_grad_(requires_grad=False)
        self.train()

    def forward(self, x: Tensor, center_row: Tensor | float | None = None) -> Tensor:
        """Return one logit for each action unit, in the order of ``aus``.

        Args:
            x: RGB faces (B, 3, ``image_size``, ``image_size``), aligned.
            center_row: Row of the face's centre in pixels from the top, one number or (B,); None is the middle of the
                image, where the paper's alignment puts it.

        Returns:
            Logits (B, number of action units).

        Raises:
            TypeError: If ``x`` is not a floating tensor.
            ValueError: If its shape does not fit, or a centre lies outside the frame.
        """
        checks.images("x", x, self.image_size)
        decoded = self.decode(x)
        views = self.mask(decoded, center_row) if self.hard_mask else dict.fromkeys(self.mask.regions, decoded)
        return torch.cat([branch(views[region]) for region, branch in self.branches.items()], dim=1)

    def decode(self, x: Tensor) -> Tensor:
        """Return the decoder's map (B, 4 * ``width``, H / 4, W / 4) of images (B, 3, H, W)."""
        block2 = self.backbone.layer1(self.backbone.pool0(self.backbone.layer0(x)))
        block3 = self.backbone.layer2(block2)
        block4 = self.backbone.layer3(block3)
        step1, step2, step3 = self.decoder
        decoded = torch.cat([step1(self.backbone.layer4(block4), block4.shape[2:]), block4], dim=1)
        decoded = torch.cat([step2(decoded, block3.shape[2:]), block3], dim=1)
        last: Tensor = step3(decoded, block2.shape[2:])
        return last

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen blocks stay in evaluation mode."""
        super().train(mode)
        if self.freeze:
            for block in self._frozen_blocks():
                block.eval()
        return self

    def load_vggface2(self, weights: Mapping[str, Tensor]) -> None:
        """Load the published VGGFace2 SENet-50 state dict, with its published key names, into the backbone.

        Its classifier (8631 identities) is ignored.

        Args:
            weights: The state dict, as :func:`reference_models.weights.read_weights` returns it.

        Raises:
            ValueError: If keys are missing or unknown, or shapes differ; then nothing is loaded.
        """
        renamed = {_timm_name(name): tensor for name, tensor in weights.items()}
        load_weights(self.backbone, renamed, ignore=("last_linear.",))

    def _frozen_blocks(self) -> tuple[nn.Module, nn.Module]:
        return self.backbone.layer0, self.backbone.layer1


def _refinement(attention: Callable[[], nn.Module], channels: int, **factory: Any) -> tuple[nn.Module, ...]:
    """Return the newer text's layers: three attention blocks, each followed by a pair of convolutions."""
    return (
        attention(),
        ConvPair(channels, residual=True, **factory),
        nn.MaxPool2d(2),
        attention(),
        ConvPair(channels, residual=True, **factory),
        nn.MaxPool2d(2),
        attention(),
        ConvPair(channels, residual=False, **factory),
    )


def _branch_v2(attention: Callable[[], nn.Module], channels: int, aus: int, **factory: Any) -> nn.Sequential:
    """Return a region's branch of the newer text: refinement, and a classifier with ``channels`` hidden units."""
    return nn.Sequential(*_refinement(attention, channels, **factory), *_classifier(channels, channels, aus, **factory))


def _branch_v1(attention: Callable[[], nn.Module], channels: int, aus: int, **factory: Any) -> nn.Sequential:
    """Return a region's branch of the early text: three attention blocks, classifier with twice the hidden units."""
    return nn.Sequential(*(attention() for _ in range(3)), *_classifier(channels, 2 * channels, aus, **factory))


def _classifier(channels: int, hidden: int, aus: int, **factory: Any) -> tuple[nn.Module, ...]:
    return (
        nn.AdaptiveAvgPool2d(POOLED_SIZE),
        nn.Flatten(),
        nn.Linear(channels * POOLED_SIZE**2, hidden, **factory),
        nn.ReLU(),
        nn.Linear(hidden, aus, **factory),
    )


def _checked_groups(au_groups: Mapping[str, Sequence[int]], regions: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    if not isinstance(au_groups, Mapping) or not au_groups:
        raise TypeError(f"au_groups must map regions to action units, got {au_groups!r}")
    groups = {}
    for region, group in au_groups.items():
        checks.one_of("au_groups' regions", region, regions)
        if not group:
            raise ValueError(f"au_groups[{region!r}] must hold at least one action unit, got {group!r}")
        groups[region] = tuple(checks.positive_int(f"au_groups[{region!r}]", au) for au in group)
    return groups


def _timm_name(name: str) -> str:
    """Return timm's name of a parameter of the published VGGFace2 SENet-50."""
    if name.startswith(("conv1.", "bn1.")):
        return f"layer0.{name}"
    if name.startswith("fc."):
        return name.replace("fc.", "last_linear.")
    return name.replace(".conv4.", ".se_module.fc1.").replace(".conv5.", ".se_module.fc2.")
