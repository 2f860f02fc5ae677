"""Names of stages and blocks for the model families whose structure cannot be detected automatically."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Globs over module names; ``*`` matches within one level, and a last part ``-1`` is a container's last child.

    Attributes:
        stages: The modules at which stages end, in order; empty to detect them.
        blocks: The residual or transformer blocks; empty to detect them.
        refused: Modules whose tensors have the shape of a grid but not its order: glob, stages (empty for all), reason.
    """

    stages: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    refused: tuple[tuple[str, tuple[int, ...], str], ...] = ()


NONE = Family()

_UNROLLED = (
    "Hiera keeps its tokens in the order of its mask units until its last pooling: they form no grid before that"
)

_WINDOWED = "NesT's blocks work on tokens in windows (B, windows, tokens, C): they form no grid"

FAMILIES: dict[str, Family] = {
    "timm.models.coat": Family(
        stages=("serial_blocks*.-1", "parallel_blocks.-1"), blocks=("serial_blocks*.*", "parallel_blocks.*")
    ),
    "timm.models.convmixer": Family(blocks=("blocks.*",)),
    "timm.models.densenet": Family(stages=("features.denseblock*",), blocks=("features.denseblock*.denselayer*",)),
    "timm.models.dla": Family(stages=("level[0-5]",)),
    "timm.models.fasternet": Family(blocks=("stages.*.blocks.*",)),
    "timm.models.hiera": Family(refused=(("**", (1, 2, 3), _UNROLLED),)),
    "timm.models.hrnet": Family(
        stages=("layer1", "stage2.-1", "stage3.-1", "stage4.-1"), blocks=("layer1.*", "stage[234].*.branches.*.*")
    ),
    "timm.models.iformer": Family(blocks=("stages.*.blocks.*",)),
    "timm.models.mvitv2": Family(stages=("stages.*",), blocks=("stages.*.blocks.*",)),
    "timm.models.nest": Family(
        blocks=("levels.*.transformer_encoder.*",), refused=(("levels.*.transformer_encoder.**", (), _WINDOWED),)
    ),
    "timm.models.pit": Family(stages=("transformers.*",), blocks=("transformers.*.blocks.*",)),
    "timm.models.swiftformer": Family(blocks=("stages.*.blocks.*",)),
    "timm.models.twins": Family(stages=("blocks.*.-1",), blocks=("blocks.*.*",)),
    "timm.models.volo": Family(blocks=("network.[0234].*",)),
    "timm.models.xception": Family(stages=("block1", "block2", "block11", "block12"), blocks=("block*",)),
    "torchvision.models.convnext": Family(stages=("features.[1357]",), blocks=("features.[1357].*",)),
    "torchvision.models.densenet": Family(stages=("features.denseblock*",), blocks=("features.denseblock*.*",)),
    "torchvision.models.maxvit": Family(stages=("blocks.*",), blocks=("blocks.*.layers.*",)),
    "torchvision.models.regnet": Family(stages=("trunk_output.block*",), blocks=("trunk_output.block*.*",)),
    "torchvision.models.resnet": Family(stages=("layer*",), blocks=("layer*.*",)),
    "torchvision.models.segmentation.deeplabv3": Family(stages=("backbone.layer*",)),
    "torchvision.models.segmentation.fcn": Family(stages=("backbone.layer*",)),
    "torchvision.models.shufflenetv2": Family(stages=("stage[234]",), blocks=("stage[234].*",)),
    "torchvision.models.swin_transformer": Family(stages=("features.[1357]",), blocks=("features.[1357].*",)),
    "torchvision.models.vision_transformer": Family(blocks=("encoder.layers.*",)),
}
"""The families, by the module that defines the model's class."""


def family_of(model: nn.Module) -> Family:
    """Return the family of the model's class or of one of its base classes, else an empty one."""
    for cls in type(model).__mro__:
        if cls.__module__ in FAMILIES:
            return FAMILIES[cls.__module__]
    return NONE
