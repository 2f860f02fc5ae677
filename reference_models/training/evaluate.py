"""Scores a trained network on faces."""

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
        ValueError: If a person of the test side was in the network's training or validation side.
    """
    check_unknown(trained.record.persons, sides.persons["test"])
    return scores_of(trained.network, trained.recipe, sides.test, calibration=trained.calibration)


@torch.no_grad()
def scores_of(
    network: nn.Module, recipe: Recipe, faces: FaceDataset, *, calibration: Calibration | None = None
) -> dict[str, float]:
    """Return the scores of faces, by name, without a check of the persons.

    Args:
        network: Network in evaluation mode.
        recipe: Its recipe.
        faces: Faces with the recipe's labels and test-time augmentation.
        calibration: Turns the outputs of action units into presence and levels; adds the scores ``icc`` and
            ``f1_tuned``. None leaves them out.
    """
    metric, outputs = scores(recipe.labels), Outputs()
    for batch in DataLoader(faces, EVALUATED_AT_ONCE, collate_fn=collate):
        logits = logits_of(network, recipe, batch)
        metric.update(logits, batch)
        if batch.levels is not None:
            outputs.update(logits, batch.target, batch.levels)
    values = dict(metric.compute())
    if calibration is not None:
        values |= calibration.scores(*outputs.compute())
    return {name: float(value) for name, value in values.items()}
