"""Changes to the papers' recipes for synthetic faces, with which a network learns in minutes on two cores.

The papers' recipes are meant for tens of thousands of photographs, weights from ImageNet or VGGFace2, and a GPU. With
two thousand rendered faces and random weights, CEDNN's recipe ends with an F1 of 0: each unit is absent in most frames,
and the network keeps predicting that no unit is present. These changes are not from the papers and do not apply to real
datasets. ``reference-models train --paper`` leaves them out, and options of the command set each value.

- AdamW, with a warm-up and half a cosine.
- The target probability of a unit is its level divided by five instead of 0 or 1, so that a frame also teaches how
  strong a unit is.
- Faces have 64 pixels and are only mirrored and moved at random. TRA-Net's faces have 96 pixels, because it sees no
  neutral face from which small changes could be judged; its outputs for a face and its mirror image are averaged.
- The lowest threshold of the difference maps is a grey level of 8 instead of 30, which only 1.6% of the pixels of
  rendered faces reach.
- CEDNN has no squeeze-and-excitation: without it its blocks train by native kernels in half the time.
- TRA-Net has no frozen layers, because it starts from random weights. It takes channels-last pictures in batches of 64
  and computes in bfloat16, which is faster on processors that support it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from reference_models.training.recipes import Precision, Recipe
from reference_models.training.schedules import Cosine, CosineBySteps

MAP_THRESHOLDS = (8.0, 12.0, 18.0, 26.0, 38.0)

_COMMON = {
    "image_size": 64,
    "augmentation": "moved",
    "sampling": "shuffled",
    "batches": None,
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "schedule": Cosine(),
    "patience": None,
}
_UNITS = {**_COMMON, "learned": "level", "monitor": "icc"}
_CEDNN = {**_UNITS, "map_thresholds": MAP_THRESHOLDS, "epochs": 14, "options": {"se": None, "top_width": 256}}
_TRA_NET = {
    **_UNITS,
    "image_size": 96,
    "augmentation": "mirrored",
    "batch_size": 64,
    "epochs": 6,
    "schedule": CosineBySteps(),
    "channels_last": True,
    "options": {"width": 16, "freeze": False},
}
_EXPRESSIONS = {**_COMMON, "batch_size": 32}

SYNTHETIC: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cednn": _CEDNN,
        "cednn-ck-plus": _CEDNN,
        "tra-net": _TRA_NET,
        "lla-net": {**_EXPRESSIONS, "epochs": 14, "options": {"width": 16}},
        "dba-net": {**_EXPRESSIONS, "epochs": 14, "options": {"backbone": "timm/resnet10t"}},
    }
)
"""Name of a recipe to the fields that are changed in it."""

_MORE_PERSONS = {"tra-net": 5000}
_IN_BF16 = frozenset({"tra-net"})


def for_synthetic(recipe: Recipe) -> Recipe:
    """Return a paper's recipe with the changes for synthetic faces."""
    return recipe.changed(**SYNTHETIC[recipe.name])


def persons(recipe: Recipe) -> int:
    """Return the default number of synthetic persons on all three sides together.

    TRA-Net sees no neutral face: it needs more persons to learn to tell a face from its expression.
    """
    return _MORE_PERSONS.get(recipe.name, 2000)


def precision(recipe: Recipe) -> Precision:
    """Return the default precision for training on synthetic faces."""
    return "bf16-mixed" if recipe.name in _IN_BF16 else "32-true"
