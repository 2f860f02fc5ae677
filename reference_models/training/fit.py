"""Trains a network by a recipe: keeps the best epoch, resumes after a kill, writes the model."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from reference_models import interrupts
from reference_models.checks import positive_int
from reference_models.training.callbacks import FolderClaim, Patience, SafeCheckpoint, Signals, end_other_processes
from reference_models.training.checkpoint_io import SafeCheckpointIO
from reference_models.training.feed import Feed
from reference_models.training.learner import Learner
from reference_models.training.progress import RunProgress
from reference_models.training.recipes import Precision, Recipe
from reference_models.training.sides import Sides
from reference_models.training.sync_norm import synchronise
from reference_models.training.trained import BEST, LAST, MODEL, RunRecord, write_model


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The devices and processes of a run.

    Attributes:
        accelerator: Lightning's name: ``auto``, ``cpu``, ``gpu``, ..
        devices: Number of training processes on each node.
        nodes: Number of machines.
        precision: ``32-true`` or ``bf16-mixed``.
        workers: Number of processes that decode pictures, for each training process.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Precision = "32-true"
    workers: int = 0


@contextmanager
def _hide_writer_thread_errors() -> Iterator[None]:
    """Hide an OSError of TensorBoard's writer thread; the next write raises it in the main thread."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


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
    """Train a network and return its scores on the test side, ``test/f1`` and so on, and on each of ``sides.others``.

    A folder that holds an unfinished run of the same recipe, data, seed and precision resumes from its last complete
    epoch. A start that is refused, or interrupted before its first step, leaves the folder as it was.

    Args:
        recipe: Network, loss, optimiser and schedule.
        sides: Faces to train on, to choose the best epoch by, and to score.
        folder: Output folder. It gets ``last.safetensors`` and ``best.safetensors`` (training states),
            ``model.safetensors`` (the best epoch's weights with labels, preparation, recipe and versions), ``run.json``
            and the logs.
        seed: Seed of weights, order and augmentation: the same seed gives the same run, bit for bit on CPUs.
        hardware: Devices, precision and processes; by default Lightning's choice with one process.
        progress: Whether to draw a progress bar, and print one line per epoch, on the error stream.
        logs: Whether to write TensorBoard and CSV logs.
        watchers: Further Lightning callbacks.

    Raises:
        KeyboardInterrupt: On SIGINT; the state of the last complete epoch stays. Inside
            :func:`reference_models.interrupts.interruptible` its exception is raised instead.
        OSError: If the folder cannot be written; the last good training state stays.
        SystemExit: With code 143 on SIGTERM; the state of the last complete epoch stays.
        ValueError: If the folder holds another run, or the hardware is not available.
    """
    if interrupts.active():
        return _fit(recipe, sides, folder, seed, hardware or Hardware(), watchers, progress=progress, logs=logs)
    try:
        with interrupts.interruptible():
            return _fit(recipe, sides, folder, seed, hardware or Hardware(), watchers, progress=progress, logs=logs)
    except interrupts.Interrupted as interrupted:
        if interrupted.number == signal.SIGINT:
            raise KeyboardInterrupt from interrupted
        raise SystemExit(interrupted.exit_code) from interrupted


@_hide_writer_thread_errors()
def _fit(
    recipe: Recipe,
    sides: Sides,
    folder: Path,
    seed: int,
    hardware: Hardware,
    watchers: Sequence[Callback],
    *,
    progress: bool,
    logs: bool,
) -> dict[str, float]:
    positive_int("devices", hardware.devices)
    record = RunRecord.of(
        recipe, sides.fingerprint, seed, precision=hardware.precision, source=sides.source, persons=sides.persons
    )
    record.check(folder)
    learner = Learner(recipe, seed=seed)
    learner.record = record
    several = hardware.devices * hardware.nodes > 1
    if several and hardware.accelerator == "cpu":
        synchronise(learner)
    _silence_known_warnings()
    claim = FolderClaim(record, folder)
    with claim.undo_before_first_step():
        try:
            trainer = _trainer(
                recipe, folder, hardware, (claim, *watchers), progress=progress, logs=logs, several=several
            )
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error
        feed = Feed(sides, recipe, seed=seed, workers=hardware.workers)
        last = folder / LAST
        try:
            with interrupts.as_itself():
                trainer.fit(learner, feed, ckpt_path=str(last) if last.exists() else None)
        except interrupts.Interrupted:
            end_other_processes(trainer)
            raise
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
        Signals(),
        *watchers,
    ]  # fmt: skip
    if recipe.patience is not None:
        callbacks.append(Patience(monitor, patience=recipe.patience))
    if progress:
        callbacks.append(RunProgress(recipe.monitor))
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
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        deterministic=True,
        **options,
    )


def _silence_known_warnings() -> None:
    """Silence Lightning's messages on intended settings and on deprecations in Lightning's own code."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "Checkpoint directory .* exists and is not empty",
        "The '.*_dataloader' does not have many workers",
        ".*LeafSpec.*is deprecated",
        "It is recommended to use `self.log",  # the metrics are already reduced over all processes
        "torch.distributed.nn.functional.all_reduce is deprecated",
    ):
        warnings.filterwarnings("ignore", message)
