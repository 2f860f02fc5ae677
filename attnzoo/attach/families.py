"""Families whose stages or blocks cannot be read off the model: the names, by the module that defines the class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Globs over module names; ``*`` stays within one level and a last part ``-1`` is a container's last child.

    Attributes:
        stages: Where stages end, in order; empty: read it off the model.
        blocks: The residual or transformer blocks; empty: read it off the model.
        refused: By glob, why a site that matches is refused.
    """

    stages: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


NONE = Family()

FAMILIES: dict[str, Family] = {
    "timm.models.mvitv2": Family(stages=("stages.*",), blocks=("stages.*.blocks.*",)),
    "timm.models.twins": Family(stages=("blocks.*.-1",), blocks=("blocks.*.*",)),
    "torchvision.models.alexnet": Family(stages=("features.1", "features.4", "features.11"), blocks=("features.1", "features.4", "features.7", "features.9", "features.11")),
    "torchvision.models.convnext": Family(stages=("features.[1357]",), blocks=("features.[1357].*",)),
    "torchvision.models.densenet": Family(stages=("features.denseblock*",), blocks=("features.denseblock*.*",)),
    "torchvision.models.resnet": Family(stages=("layer*",), blocks=("layer*.*",)),
    "torchvision.models.regnet": Family(stages=("trunk_output.block*",), blocks=("trunk_output.block*.*",)),
    "torchvision.models.vision_transformer": Family(blocks=("encoder.layers.*",)),
    "torchvision.models.swin_transformer": Family(stages=("features.[1357]",), blocks=("features.[1357].*",)),
}


def family_of(model: nn.Module) -> Family:
    """Return the entry of the model's class or of a class that it derives from, else an empty one."""
    for cls in type(model).__mro__:
        if cls.__module__ in FAMILIES:
            return FAMILIES[cls.__module__]
    return NONE
