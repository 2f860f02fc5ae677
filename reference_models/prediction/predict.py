"""A photograph, its face found and aligned as the network was trained, and what the network says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from reference_models.data.augmentation import augmentation
from reference_models.data.dataset import Batch
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.difference import Pixels, binary_maps, difference
from reference_models.faces.face import choose
from reference_models.faces.images import RGBImage, read_image
from reference_models.faces.landmarks import DlibDetector
from reference_models.preparation.recipe import RECIPES as PREPARATIONS
from reference_models.preparation.recipe import Recipe as Preparation
from reference_models.preparation.steps import align
from reference_models.training.networks import logits_of
from reference_models.training.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was said of one photograph.

    Attributes:
        path: Of the photograph.
        face: What the network saw, (size, size, 3) uint8.
        probabilities: Label to probability, 0 to 1, in the order of the outputs; those of expressions add up to 1.
    """

    path: Path
    face: RGBImage
    probabilities: dict[str, float]


def predict(
    network: nn.Module, recipe: Recipe, photographs: Iterable[Path], *, neutral: Path | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for each photograph; of several faces in it the largest is meant.

    Args:
        network: In evaluation, as :func:`~reference_models.training.trained.read_model` returns it.
        recipe: What it was trained by.
        photographs: Their paths.
        neutral: A photograph of the same face at rest; needed exactly if the network takes difference maps.

    Raises:
        ImageError: If a photograph cannot be read.
        NoFaceError: If there is no face in one.
        ValueError: If ``neutral`` is missing, or not wanted.
    """
    if (neutral is None) == recipe.maps:
        what = "given: the network takes difference maps" if recipe.maps else "left out: the network takes no maps"
        raise ValueError(f"neutral must be {what}")
    preparation = replace(PREPARATIONS[recipe.preparation], size=recipe.image_size)
    at_rest = None if neutral is None else _aligned(neutral, preparation)
    for path in photographs:
        face = _aligned(path, preparation)
        levels = None if at_rest is None else difference(at_rest, face, relative=True).levels
        yield Prediction(path, face.image, _said(network, recipe, face.image, levels))


def _aligned(path: Path, preparation: Preparation) -> AlignedFace:
    photograph = read_image(path)
    return align(preparation, photograph, choose(DlibDetector().detect(photograph), name=str(path)))


@torch.no_grad()
def _said(network: nn.Module, recipe: Recipe, face: RGBImage, levels: Pixels | None) -> dict[str, float]:
    views: dict[str, Tensor] = {"image": tv_tensors.Image(torch.from_numpy(face.transpose(2, 0, 1).copy()))}
    if levels is not None:
        views["maps"] = tv_tensors.Mask(torch.from_numpy(binary_maps(levels, recipe.map_thresholds)))
    seen = augmentation(recipe.augmentation, recipe.image_size).test(views)
    maps = None if levels is None else seen["maps"].as_subclass(Tensor)[None]
    image = seen["image"].as_subclass(Tensor)[None]
    batch = Batch(image=image, target=torch.zeros(1), levels=None, neutral=None, maps=maps, records=())
    logits = logits_of(network, recipe, batch)[0]
    values = logits.softmax(0) if recipe.labels.task == "expressions" else logits.sigmoid()
    return dict(zip(recipe.labels.names, values.tolist(), strict=True))
