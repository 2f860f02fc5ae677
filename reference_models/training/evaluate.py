"""The scores of a trained network on faces."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

from reference_models.data.dataset import FaceDataset, collate
from reference_models.training.calibration import Calibration, Outputs
from reference_models.training.feed import EVALUATED_AT_ONCE
from reference_models.training.metrics import scores
from reference_models.training.networks import logits_of
from reference_models.training.recipes import Recipe


@torch.no_grad()
def evaluate(
    network: nn.Module, recipe: Recipe, faces: FaceDataset, *, calibration: Calibration | None = None
) -> dict[str, float]:
    """Return the scores, by name.

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
