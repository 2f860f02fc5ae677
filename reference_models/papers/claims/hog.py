"""The simple baseline: ridge regression on histograms of oriented gradients (HOG).

The features are those of a frame, or their difference from those of the neutral frame. The regularisation strength, and
the threshold from which a unit counts as present, are chosen on the validation side.
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
"""Value of a recipe's ``network`` for this baseline; its option ``of`` is ``frames`` or ``differences``."""
STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0)
CELLS, ORIENTATIONS = 12, 8

Array = NDArray[np.float64]


def hog_scores(recipe: Recipe, sides: Sides) -> dict[str, float]:
    """Return the scores of the test side.

    Args:
        recipe: Its labels and its option ``of`` are used.
        sides: Faces with levels or expressions, and with neutral frames if ``of`` is ``differences``.

    Raises:
        MissingExtraError: If scikit-learn or scikit-image is not installed.
    """
    ridge = load("sklearn.linear_model", package="scikit-learn", extra="train").Ridge
    score = SCORES[recipe.name]
    parts = [_sample(side, recipe.options["of"]) for side in (sides.train, sides.validation, sides.test)]
    (x, y), (x_validation, _), (x_test, _) = parts
    best, best_test_scores = -1.0, {}
    for strength in STRENGTHS:
        model = ridge(alpha=strength).fit(x, y)
        predicted, predicted_test = (torch.from_numpy(model.predict(each)) for each in (x_validation, x_test))
        if recipe.threshold is None:
            validation_scores = _expression_scores(sides.validation, predicted)
            test_scores = _expression_scores(sides.test, predicted_test)
        else:
            calibration = Calibration.fit(predicted, *_coded(sides.validation))
            validation_scores = calibration.scores(predicted, *_coded(sides.validation))
            test_scores = calibration.scores(predicted_test, *_coded(sides.test))
        if float(validation_scores[score]) > best:
            best, best_test_scores = float(validation_scores[score]), test_scores
    return {name: float(value) for name, value in best_test_scores.items()}


def _sample(side: FaceDataset, of: str) -> tuple[Array, Array]:
    """Return features (N, F) and regression targets: levels (N, A), or one-hot expressions (N, classes)."""
    features = []
    for record in side.records:
        values = _features(side.pictures.image(record))
        features.append(values - _features(side.pictures.neutral(record)) if of == "differences" else values)
    expressions = side.threshold is None
    targets = np.eye(len(side.labels))[side.targets().numpy()] if expressions else _coded(side)[1].numpy()
    return np.array(features), targets


def _features(image: NDArray[np.uint8]) -> Array:
    feature = load("skimage.feature", package="scikit-image", extra="train")
    color = load("skimage.color", package="scikit-image", extra="train")
    cell = max(image.shape[0] // CELLS, 1)
    grey = color.rgb2gray(image)
    values: Array = feature.hog(grey, ORIENTATIONS, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))
    return values


def _coded(side: FaceDataset) -> tuple[Tensor, Tensor]:
    """Return presence and coded levels of all frames of a side, each (N, A)."""
    levels = [[record.level(unit) for unit in side.labels.units] for record in side.records]
    return side.targets(), torch.tensor(levels, dtype=torch.float64)


def _expression_scores(side: FaceDataset, outputs: Tensor) -> dict[str, Tensor]:
    scores = ExpressionScores(side.labels)
    scores.update(outputs, Batch(torch.empty(0), side.targets(), None, None, None, ()))
    return scores.compute()
