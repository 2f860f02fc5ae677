"""The simple baseline: ridge regression on histograms of oriented gradients (HOG).

The features are those of a frame, or their difference from those of the neutral frame. The regularisation strength, and
the threshold from which a unit counts as present, are chosen on the validation side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    return scores_by_side(sides, of=recipe.options["of"], score=SCORES[recipe.name])["test"]


def scores_by_side(
    sides: Sides, *, of: str, score: str, strengths: Sequence[float] = STRENGTHS
) -> dict[str, dict[str, float]]:
    """Return the scores of ``test`` and of each side in ``sides.others``, by name.

    Args:
        sides: As for :func:`hog_scores`.
        of: ``frames`` or ``differences``.
        score: The score of the validation side that chooses Ridge's strength.
        strengths: Those that are tried.

    Raises:
        MissingExtraError: If scikit-learn or scikit-image is not installed.
    """
    parts = {"train": sides.train, "validation": sides.validation, "test": sides.test, **sides.others}
    known: dict[str, Array] = {}
    x = {name: _features(side, of, known) for name, side in parts.items()}

    def scored(model: Any) -> dict[str, dict[str, float]]:
        said = {name: torch.from_numpy(model.predict(x[name])) for name in parts if name != "train"}
        return _scores(said, parts)

    chosen = fit_ridge(x["train"], _wanted(sides.train), strengths, lambda model: scored(model)["validation"][score])
    return {name: values for name, values in scored(chosen).items() if name != "validation"}


def fit_ridge(x: Array, wanted: Array, strengths: Sequence[float], score: Callable[[Any], float]) -> Any:
    """Return scikit-learn's ridge regression of ``x`` (N, F) to ``wanted`` (N, A), of the strength with the best score.

    Args:
        x: Features.
        wanted: What is regressed.
        strengths: Ridge's ``alpha``; of equally good ones the first is taken.
        score: Takes a fitted regression.

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    ridge = load("sklearn.linear_model", package="scikit-learn", extra="train").Ridge
    return max((ridge(alpha=strength).fit(x, wanted) for strength in strengths), key=score)


def features(image: NDArray[np.uint8]) -> Array:
    """Return the histograms of oriented gradients of an image (H, W, 3), of 12 x 12 cells, (F,).

    Raises:
        MissingExtraError: If scikit-image is not installed.
    """
    feature = load("skimage.feature", package="scikit-image", extra="train")
    color = load("skimage.color", package="scikit-image", extra="train")
    cell = max(image.shape[0] // CELLS, 1)
    grey = color.rgb2gray(image)
    values: Array = feature.hog(grey, ORIENTATIONS, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))
    return values


def _features(side: FaceDataset, of: str, known: dict[str, Array]) -> Array:
    """Return the features of a side; ``known`` keeps those of each picture, as many faces share a neutral frame."""
    rows = []
    for record in side.records:
        if record.image not in known:
            known[record.image] = features(side.pictures.image(record))
        values = known[record.image]
        if of == "differences":
            neutral = str(record.neutral)
            if neutral not in known:
                known[neutral] = features(side.pictures.neutral(record))
            values = values - known[neutral]
        rows.append(values)
    return np.array(rows)


def _wanted(side: FaceDataset) -> Array:
    """Return what is regressed: levels, or a column of 0 and 1 for each expression."""
    if side.threshold is None:
        columns: Array = np.eye(len(side.labels))[side.targets().numpy()]
        return columns
    levels: Array = _coded(side)[1].numpy()
    return levels


def _scores(said: Mapping[str, Tensor], parts: Mapping[str, FaceDataset]) -> dict[str, dict[str, float]]:
    """Return the scores of what was said of each side; the calibration is that of the validation side."""
    if parts["train"].threshold is None:
        found = {name: _expression_scores(parts[name], outputs) for name, outputs in said.items()}
    else:
        calibration = Calibration.fit(said["validation"], *_coded(parts["validation"]))
        found = {name: calibration.scores(outputs, *_coded(parts[name])) for name, outputs in said.items()}
    return {name: {key: float(value) for key, value in values.items()} for name, values in found.items()}


def _coded(side: FaceDataset) -> tuple[Tensor, Tensor]:
    """Return presence and coded levels of all frames of a side, each (N, A)."""
    levels = [[record.level(unit) for unit in side.labels.units] for record in side.records]
    return side.targets(), torch.tensor(levels, dtype=torch.float64)


def _expression_scores(side: FaceDataset, outputs: Tensor) -> dict[str, Tensor]:
    scores = ExpressionScores(side.labels)
    scores.update(outputs, Batch(torch.empty(0), side.targets(), None, None, None, ()))
    return scores.compute()
