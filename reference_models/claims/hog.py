"""What simple means reach: histograms of oriented gradients and ridge regression, of a frame or of what changed in it.

Ridge's strength, and the level from which a unit counts as present, are chosen on the validation side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reference_models.data.dataset import Batch, FaceDataset
from reference_models.training.metrics import scores
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
    """
    from sklearn.linear_model import Ridge

    parts = [_sample(side, recipe.options["of"]) for side in (sides.train, sides.validation, sides.test)]
    (x, y), (x_validation, _), (x_test, _) = parts
    best: tuple[float, dict[str, float]] = (-1.0, {})
    for strength in STRENGTHS:
        model = Ridge(alpha=strength).fit(x, y)
        predicted = model.predict(x_validation)
        thresholds = _thresholds(sides.validation, predicted) if recipe.threshold else np.zeros(y.shape[1])
        value = _scored(recipe, sides.validation, predicted - thresholds)[recipe.monitor]
        if value > best[0]:
            best = (value, _scored(recipe, sides.test, model.predict(x_test) - thresholds))
    return best[1]


def _sample(side: FaceDataset, of: str) -> tuple[Array, Array]:
    """Return features and what is regressed: levels, or a column of 0 and 1 for each expression."""
    features = []
    for record in side.records:
        values = _features(side.pictures.image(record))
        features.append(values - _features(side.pictures.neutral(record)) if of == "differences" else values)
    if side.threshold is None:
        return np.array(features), np.eye(len(side.labels))[side.targets().numpy()]
    levels = [[record.level(unit) for unit in side.labels.units] for record in side.records]
    return np.array(features), np.array(levels, dtype=np.float64)


def _features(image: NDArray[np.uint8]) -> Array:
    from skimage.color import rgb2gray
    from skimage.feature import hog

    cell = max(image.shape[0] // CELLS, 1)
    values: Array = hog(rgb2gray(image), ORIENTATIONS, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))
    return values


def _thresholds(side: FaceDataset, predicted: Array) -> Array:
    """Return, for each unit, the predicted level from which on its F1 is best."""
    truth = side.targets().numpy() > 0
    chosen = []
    for unit in range(truth.shape[1]):
        candidates = np.quantile(predicted[:, unit], np.linspace(0.3, 0.99, 70))
        said = predicted[:, unit] > candidates[:, None]
        right = (said & truth[:, unit]).sum(1)
        f1 = 2 * right / np.maximum(said.sum(1) + truth[:, unit].sum(), 1)
        chosen.append(candidates[int(np.argmax(f1))])
    return np.array(chosen)


def _scored(recipe: Recipe, side: FaceDataset, outputs: Array) -> dict[str, float]:
    counted: Any = scores(recipe.labels)
    targets = side.targets()
    target = targets if recipe.threshold is None else targets.float()
    logits = torch.from_numpy(outputs).float()
    counted.update(logits, Batch(torch.empty(0), target, None, None, None, ()))
    return {name: float(value) for name, value in counted.compute().items()}
