"""What simple means reach: histograms of oriented gradients and ridge regression, of a frame or of what changed in it.

Ridge's strength, and the level from which a unit counts as present, are chosen on the validation side.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_models.data.dataset import Batch, FaceDataset
from reference_models.extras import load
from reference_models.papers.claims.claim import SCORES
from reference_models.training.calibration import Calibration
from reference_models.training.metrics import ExpressionScores
from reference_models.training.recipes import Recipe
from reference_models.training.sides import Sides

HOG = "hog-ridge"
"""Stands for a network in a recipe; its option ``of`` is ``frames`` or ``differences``."""
STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0)
CELLS, ORIENTATIONS = 12, 8

Array = NDArray[np.float64]


def hog_scores(recipe: Recipe, sides: Sides) -> dict[str, float]:
    """Return the scores of the test side.

    Args:
        recipe: Its labels; its options say ``of`` what the features are.
        sides: Faces with exact levels or expressions, and with neutral frames if ``of`` is ``differences``.

    Raises:
        MissingExtraError: If scikit-learn or scikit-image is not installed.
    """
    ridge = load("sklearn.linear_model", package="scikit-learn", extra="train").Ridge
    score = SCORES[recipe.name]
    parts = [_sample(side, recipe.options["of"]) for side in (sides.train, sides.validation, sides.test)]
    (x, y), (x_validation, _), (x_test, _) = parts
    best, chosen = -1.0, {}
    for strength in STRENGTHS:
        model = ridge(alpha=strength).fit(x, y)
        said, said_of_test = (torch.from_numpy(model.predict(each)) for each in (x_validation, x_test))
        if recipe.threshold is None:
            here, there = _classified(sides.validation, said), _classified(sides.test, said_of_test)
        else:
            calibration = Calibration.fit(said, *_coded(sides.validation))
            here = calibration.scores(said, *_coded(sides.validation))
            there = calibration.scores(said_of_test, *_coded(sides.test))
        if float(here[score]) > best:
            best, chosen = float(here[score]), there
    return {name: float(value) for name, value in chosen.items()}


def _sample(side: FaceDataset, of: str) -> tuple[Array, Array]:
    """Return features and what is regressed: levels, or a column of 0 and 1 for each expression."""
    features = []
    for record in side.records:
        values = _features(side.pictures.image(record))
        features.append(values - _features(side.pictures.neutral(record)) if of == "differences" else values)
    expressions = side.threshold is None
    wanted = np.eye(len(side.labels))[side.targets().numpy()] if expressions else _coded(side)[1].numpy()
    return np.array(features), wanted


def _features(image: NDArray[np.uint8]) -> Array:
    feature = load("skimage.feature", package="scikit-image", extra="train")
    color = load("skimage.color", package="scikit-image", extra="train")
    cell = max(image.shape[0] // CELLS, 1)
    grey = color.rgb2gray(image)
    values: Array = feature.hog(grey, ORIENTATIONS, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))
    return values


def _coded(side: FaceDataset) -> tuple[Tensor, Tensor]:
    """Return presence and levels of all frames of a side, each (N, A)."""
    levels = [[record.level(unit) for unit in side.labels.units] for record in side.records]
    return side.targets(), torch.tensor(levels, dtype=torch.float64)


def _classified(side: FaceDataset, outputs: Tensor) -> dict[str, Tensor]:
    counted = ExpressionScores(side.labels)
    counted.update(outputs, Batch(torch.empty(0), side.targets(), None, None, None, ()))
    return counted.compute()
