"""Runs a recipe: trains, keeps the best epoch, goes on after a kill, writes the model."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from reference_models.checks import positive_int
from reference_models.training.checkpoint_io import SafeCheckpointIO
from reference_models.training.feed import Feed
from reference_models.training.learner import Learner
from reference_models.training.recipes import Precision, Recipe
from reference_models.training.sides import Sides
from reference_models.training.sync_norm import synchronise
from reference_models.training.trained import RunRecord, write_model

LAST, BEST, MODEL = "last.safetensors", "best.safetensors", "model.safetensors"


class SafeCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint callback; its files are safetensors."""

    FILE_EXTENSION = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where a run computes; the defaults are Lightning's own choice.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``gpu``, ..
        devices: Processes on each node.
        nodes: Machines.
        precision: ``32-true`` or ``bf16-mixed``.
        workers: Processes that decode pictures, for each training process.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Precision = "32-true"
    workers: int = 0


@contextmanager
def _told_once() -> Iterator[None]:
    """Leave an error of TensorBoard's writing thread to the main thread, which it reaches at the next write."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


@_told_once()
def fit(
    recipe: Recipe,
    sides: Sides,
    folder: Path,
    *,
    seed: int = 0,
    hardware: Hardware | None = None,
    progress: bool = True,
    logs: bool = True,
    watchers: Sequence[Callback] = (),
) -> dict[str, float]:
    """Train a network and return its scores, ``test/f1`` and so on, and the same of each of the sides' ``others``.

    A folder that holds an unfinished run of the same recipe, data and seed is gone on with, from its last whole epoch.

    Args:
        recipe: How.
        sides: On what.
        folder: Gets ``last.safetensors`` and ``best.safetensors`` (training states), ``model.safetensors`` (the best
            epoch's weights with labels, recipe and versions), ``run.json`` and the logs.
        seed: Of weights, order and augmentation: the same seed gives the same run, to the bit in float32 on CPUs.
        hardware: Where.
        progress: Whether to draw a progress bar.
        logs: Whether to write TensorBoard's and CSV logs.
        watchers: Callbacks of Lightning's that look on.

    Raises:
        OSError: If the folder cannot be written; the last good training state stays.
        ValueError: If the folder holds another run.
    """
    hardware = hardware or Hardware()
    positive_int("devices", hardware.devices)
    record = RunRecord.of(recipe, sides.fingerprint, seed)
    folder.mkdir(parents=True, exist_ok=True)
    record.claim(folder)
    learner = Learner(recipe, seed=seed)
    several = hardware.devices * hardware.nodes > 1
    if several and hardware.accelerator == "cpu":
        synchronise(learner)
    _hush()
    trainer = _trainer(recipe, folder, hardware, watchers, progress=progress, logs=logs, several=several)
    feed = Feed(sides, recipe, seed=seed, workers=hardware.workers)
    last = folder / LAST
    trainer.fit(learner, feed, ckpt_path=str(last) if last.exists() else None)
    best = SafeCheckpointIO().load_checkpoint(folder / BEST)
    learner.load_state_dict(best["state_dict"])
    trainer.validate(learner, feed, verbose=False)  # calibrates the best epoch
    scores: dict[str, float] = {}
    for learner.tested, feed.tested in {"test": sides.test, **sides.others}.items():
        scores |= {name: float(value) for name, value in trainer.test(learner, feed, verbose=False)[0].items()}
    if trainer.is_global_zero:
        write_model(learner.network, record, scores, folder / MODEL, calibration=learner.calibration)
    return scores


def _trainer(
    recipe: Recipe,
    folder: Path,
    hardware: Hardware,
    watchers: Sequence[Callback],
    *,
    progress: bool,
    logs: bool,
    several: bool,
) -> pl.Trainer:
    monitor = f"val/{recipe.monitor}"
    callbacks: list[Callback] = [
        SafeCheckpoint(folder, BEST.removesuffix(".safetensors"), monitor=monitor, mode="max", save_last=True,
                       enable_version_counter=False),
        *watchers,
    ]  # fmt: skip
    if recipe.patience is not None:
        callbacks.append(EarlyStopping(monitor, mode="max", patience=recipe.patience))
    if progress:
        callbacks.append(RichProgressBar(leave=True))
    options: dict[str, Any] = {"sync_batchnorm": several and hardware.accelerator != "cpu"}
    return pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        precision=hardware.precision,
        strategy="ddp" if several else "auto",
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        logger=[CSVLogger(folder, name="logs"), TensorBoardLogger(folder, name="tensorboard")] if logs else False,
        plugins=[SafeCheckpointIO()],
        use_distributed_sampler=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        deterministic=True,
        **options,
    )


def _hush() -> None:
    """Keep Lightning from saying what is meant to be so, or what its own code must change."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")
