"""Callbacks that look on while ``fit`` trains: what the network is given, and an end in the middle."""

from __future__ import annotations

import hashlib
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from reference_models.data.dataset import Batch


class StopError(Exception):
    """The run ends here."""


class Given(Callback):
    """Notes, by epoch and step, the number and a hash of the pixels of each picture that the network is given."""

    def __init__(self) -> None:
        self.epochs: dict[int, list[list[tuple[int, str]]]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, index: int) -> None:
        hashes = [hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()[:12] for image in batch.image]
        numbers = [record.frame for record in batch.records]
        self.epochs.setdefault(trainer.current_epoch, []).append(list(zip(numbers, hashes, strict=True)))

    def order(self, epoch: int) -> list[int]:
        return [number for step in self.epochs[epoch] for number, _ in step]

    def pixels(self, epoch: int) -> dict[int, str]:
        return dict(picture for step in self.epochs[epoch] for picture in step)


class StopAt(Callback):
    """Ends a run before a step of an epoch."""

    def __init__(self, epoch: int, step: int) -> None:
        self.moment = epoch, step

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if (trainer.current_epoch, index) == self.moment:
            raise StopError
