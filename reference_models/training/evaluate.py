"""The scores of a trained network on faces."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

from reference_models.data.dataset import FaceDataset, collate
from reference_models.training.calibration import Calibration
from reference_models.training.feed import EVALUATED_AT_ONCE
from reference_models.training.metrics import scores
from reference_models.training.networks import logits_of
from reference_models.training.outputs import Outputs
from reference_models.training.persons import check_unknown
from reference_models.training.recipes import Recipe
from reference_models.training.sides import Sides
from reference_models.training.trained import Trained


def evaluate(trained: Trained, sides: Sides) -> dict[str, float]:
    """Return the scores of the test side, by name.

    Raises:
        ValueError: If the network was trained on one of its persons, or chosen by one.
    """
    check_unknown(trained.record.persons, sides.persons["test"])
    return scores_of(trained.network, trained.recipe, sides.test, calibration=trained.calibration)


@torch.no_grad()
def scores_of(
    network: nn.Module, recipe: Recipe, faces: FaceDataset, *, calibration: Calibration | None = None
) -> dict[str, float]:
    """Return the scores of faces, whoever they are, by name.

    Args:
        network: In evaluation.
        recipe: What it was made by.
        faces: With the recipe's labels and test-time augmentation.
        calibration: How the outputs of action units become presence and levels; with it ``icc`` and ``f1_tuned`` are
            among the scores.
    """
    counted, outputs = scores(recipe.labels), Outputs()
    for batch in DataLoader(faces, EVALUATED_AT_ONCE, collate_fn=collate):
        logits = logits_of(network, recipe, batch)
        counted.update(logits, batch)
        if batch.levels is not None:
            outputs.update(logits, batch.target, batch.levels)
    found = dict(counted.compute())
    if calibration is not None:
        found |= calibration.scores(*outputs.compute())
    return {name: float(value) for name, value in found.items()}
