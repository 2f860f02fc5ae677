"""How the learning rate falls, in runs and by hand."""

from __future__ import annotations

import math
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from reference_models.training.fit import fit
from reference_models.training.schedules import Cosine, CosineBySteps, Schedule
from tests.reference_models.training.faces import recipe, sides

STEPS = 3
"""Batches of an epoch."""


class Rates(pl.Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(schedule: Schedule, folder: Path) -> list[float]:
    """Return the learning rates of a run's steps over the first."""
    noted = Rates()
    made = recipe().changed(schedule=schedule, epochs=3, batch_size=48 // STEPS, learning_rate=0.01)
    fit(made, sides(), folder, progress=False, logs=False, watchers=[noted])
    return [rate / 0.01 for rate in noted.seen]


def test_by_epochs_it_stays_for_an_epoch_and_by_steps_it_never_does(tmp_path: Path):
    by_epochs, by_steps = rates(Cosine(), tmp_path / "e"), rates(CosineBySteps(warm_up=3), tmp_path / "s")
    assert by_epochs == pytest.approx([0.1] * STEPS + [1.0] * STEPS + [0.5] * STEPS)
    rising = [0.1, 0.4, 0.7]
    falling = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert by_steps == pytest.approx([*rising, *falling])


def test_by_steps_it_ends_near_zero():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    scheduler = CosineBySteps(warm_up=10).scheduler(optimizer, 100)
    for _ in range(99):
        optimizer.step()
        scheduler.step()
    assert 0 < optimizer.param_groups[0]["lr"] < 1e-3


def test_bad_arguments():
    with pytest.raises(ValueError, match="warm_up must be at least 1, got 0"):
        CosineBySteps(0)
