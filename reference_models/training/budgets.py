"""What is changed in the papers' recipes for synthetic faces, so that a network learns in minutes on two cores.

The recipes are made for tens of thousands of photographs, weights from ImageNet or VGGFace2, and a GPU. On two thousand
rendered faces, from random weights, CEDNN's ends with an F1 of 0: each unit is absent in most frames, and the answer
"nothing is there" is never left. None of this is the papers', and none of it is done to a real dataset:
``reference-models train --paper`` leaves it out, and each value can be given on the command line.

- AdamW, with a warm-up and half a cosine.
- The loss takes the level, a fifth of it, for the probability that is wanted: a frame then says how much, as it does to
  the regression that a network is compared with.
- Faces of 64 pixels are mirrored and moved by chance, and nothing else. TRA-Net's have 96: it has no neutral face
  beside a frame to see small changes by. What it says of a face and of its mirror image is averaged.
- Difference maps begin at a grey level of 8 instead of 30, which 1.6% of the pixels of rendered faces reach.
- CEDNN has no squeeze-and-excitation, without which its blocks train by native passes in half the time.
- Nothing is frozen in TRA-Net, which has no weights from elsewhere here. Its pictures come pixel by pixel, in batches
  of 64, and it computes in bfloat16, which is faster where the processor has it.
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
"""Name of a recipe to the values that are changed in it."""

_MORE_PERSONS = {"tra-net": 5000}
_IN_BF16 = frozenset({"tra-net"})


def for_synthetic(recipe: Recipe) -> Recipe:
    """Return a paper's recipe as it is run on synthetic faces."""
    return recipe.changed(**SYNTHETIC[recipe.name])


def persons(recipe: Recipe) -> int:
    """Return how many persons are trained on, chosen by and scored together, also for a recipe of somebody's own.

    TRA-Net sees no neutral face beside a frame: it must learn from more persons what belongs to a face and what to its
    expression.
    """
    return _MORE_PERSONS.get(recipe.name, 2000)


def precision(recipe: Recipe) -> Precision:
    """Return in what a network computes on synthetic faces."""
    return "bf16-mixed" if recipe.name in _IN_BF16 else "32-true"
