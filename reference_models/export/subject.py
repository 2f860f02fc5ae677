"""The network to export, by name or from a model file, with an example input and metadata for the exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from reference_models.checks import one_of
from reference_models.data.augmentation import IMAGENET, VGGFACE2_BGR
from reference_models.training.calibration import Calibration
from reference_models.training.networks import build
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.trained import Trained, read_model

NETWORKS: Mapping[str, str] = MappingProxyType(
    {"cednn": "cednn", "dba_net": "dba-net", "lla_net": "lla-net", "tra_net": "tra-net"}
)
"""Name of a network to the name of its recipe."""
_UNIT = {"order": "RGB", "range": [0, 1], "mean": [0, 0, 0], "std": [1, 1, 1]}
_IMAGENET = {**_UNIT, "mean": list(IMAGENET[0]), "std": list(IMAGENET[1])}
_VGGFACE2 = {"order": "BGR", "range": [0, 255], "mean": list(VGGFACE2_BGR), "std": [1, 1, 1]}
VALUES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cednn": _UNIT,
        "dba-net": _IMAGENET,
        "lla-net": _IMAGENET,
        "mirrored": _UNIT,
        "moved": _UNIT,
        "none": _UNIT,
        "tra-net": _VGGFACE2,
    }
)
"""Augmentation to the scaling of pixel values: channels in ``order``, scaled to ``range``, minus ``mean``, divided by
``std``."""


@dataclass(frozen=True)
class Subject:
    """A network to export.

    Attributes:
        network: The network, in evaluation mode.
        recipe: Its recipe.
        example: Random inputs: a picture, and difference maps if it takes them.
        metadata: Metadata of the exported file: labels, preparation, scaling of values, calibration.
        trained: The trained model; None for a network by name.
    """

    network: nn.Module
    recipe: Recipe
    example: tuple[Tensor, ...]
    metadata: Mapping[str, Any]
    trained: Trained | None

    @property
    def calibration(self) -> Calibration | None:
        """Calibration of a trained network for action units; None for other networks."""
        return None if self.trained is None else self.trained.calibration


def subject(model: str, size: int | None) -> Subject:
    """Return a network to export.

    Args:
        model: A name in :data:`NETWORKS`, written with ``_`` or ``-``, for random weights (seed 0), or the path of a
            model that :func:`reference_models.training.trained.read_model` reads.
        size: Side of the picture in pixels, for a network by name; None for the paper's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such network, the file is damaged, or ``size`` is given for a trained model.
    """
    trained: Trained | None = None
    name = model.replace("-", "_")
    model = name if name in NETWORKS else model
    if model not in NETWORKS and (model.endswith(".safetensors") or Path(model).is_dir()):
        if size is not None:
            raise ValueError(f"--size must be left out: {model} was trained at its own")
        trained = read_model(model)
        network, recipe, preparation = trained.network, trained.recipe, trained.preparation
    else:
        one_of("MODEL", model, (*NETWORKS, "a .safetensors file"))
        recipe = RECIPES[NETWORKS[model]].changed(**({} if size is None else {"image_size": size}))
        torch.manual_seed(0)
        network, preparation = build(recipe).eval(), recipe.faces
    side = recipe.image_size
    generator = torch.Generator().manual_seed(0)
    example = [torch.rand(1, 3, side, side, generator=generator)]
    if recipe.maps:
        example.append((torch.rand(1, 5, side, side, generator=generator) > 0.5).float())
    metadata = {
        "model": f"{recipe.network} ({'random weights' if model in NETWORKS else model})",
        "task": recipe.labels.task,
        "labels": list(recipe.labels.names),
        "input_size": [3, side, side],
        "values": dict(VALUES[recipe.augmentation]),
        "preparation": preparation.plain(),
        "views": recipe.augmentation,
    }
    if trained is not None and trained.calibration is not None:
        metadata["calibration"] = trained.calibration.plain()
    return Subject(network, recipe, tuple(example), metadata, trained)
