"""What looks on while Lightning trains: keeps states, stops early, lets signals through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from reference_models import interrupts
from reference_models.training.trained import RunRecord


class SafeCheckpoint(ModelCheckpoint):
    """Keeps the best epoch's state, and with ``save_last`` that of each whole epoch, both as safetensors.

    Lightning's own ``save_last`` writes when the best one is written. Here ``last.safetensors`` follows every
    validation, after ``best.safetensors``, so that the last state always knows which epoch the best one is of.

    Args:
        folder: Where the files go.
        filename: Of the best state, without ending.
        save_last: Whether the last state is kept too.
        **options: Of Lightning's ``ModelCheckpoint``.
    """

    FILE_EXTENSION = ".safetensors"

    def __init__(self, folder: str | Path, filename: str, *, save_last: bool = False, **options: Any) -> None:
        super().__init__(folder, filename, save_last=False, save_on_train_epoch_end=False, **options)
        self.keeps_last = save_last

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the best state if this epoch is better than all before, and the last one."""
        super().on_validation_end(trainer, pl_module)
        if self.keeps_last and trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            trainer.save_checkpoint(Path(str(self.dirpath)) / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over which epoch was the best, also in a folder that has been moved."""
        here: dict[str, Any] = {"dirpath": self.dirpath}
        if state_dict["best_model_path"]:
            best = str(Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}")
            scores = {best: state_dict["best_model_score"]}
            here |= {"best_model_path": best, "kth_best_model_path": best, "best_k_models": scores}
        super().load_state_dict({**state_dict, **here})


class Patience(EarlyStopping):
    """Lightning's early stopping, which also keeps a run ended that had stopped before its state was read again.

    It decides after the validation, before the state is written, and not at the end of the epoch.

    Args:
        monitor: Score of the validation side.
        patience: Epochs without a better one.
    """

    def __init__(self, monitor: str, *, patience: int) -> None:
        super().__init__(monitor, mode="max", patience=patience, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Train no further epoch if an earlier start of the run has stopped."""
        if self.wait_count >= self.patience or self.stopped_epoch > 0:
            trainer.should_stop = True


class Claim(Callback):
    """Writes the record of a run into its folder when the first step is done, and not before.

    Args:
        record: Of the run.
        folder: Of the run.
    """

    def __init__(self, record: RunRecord, folder: Path) -> None:
        self.record = record
        self.folder = folder
        self.made = False

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Claim the folder."""
        if not self.made and trainer.is_global_zero:
            self.record.claim(self.folder)
        self.made = True

    @contextmanager
    def or_nothing(self) -> Iterator[None]:
        """Make the folder; if what is inside fails before the first step, leave behind what was there before.

        Raises:
            OSError: If the folder cannot be made.
        """
        new = not self.folder.exists()
        before = set(self.folder.rglob("*"))
        self.folder.mkdir(parents=True, exist_ok=True)
        done = False
        try:
            yield
            done = True
        finally:
            if not done and not self.made and int(os.environ.get("LOCAL_RANK", "0")) == 0:
                for path in sorted(set(self.folder.rglob("*")) - before, reverse=True):  # a folder after what is in it
                    path.rmdir() if path.is_dir() else path.unlink()
                if new:
                    self.folder.rmdir()


class Signals(Callback):
    """Gives Ctrl-C and SIGTERM back to :mod:`reference_models.interrupts`, after Lightning has taken SIGTERM.

    Of several processes the first one raises; the others work on until it ends them.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take the signals for a training."""
        self._take(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take the signals for a validation."""
        self._take(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Take the signals for a test."""
        self._take(trainer)

    def _take(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            interrupts.install()
        else:
            interrupts.ignore()


def end_other_processes(trainer: pl.Trainer) -> None:
    """Kill the training processes that Lightning started beside this one, and let nobody wait for them."""
    processes: list[Any] = getattr(trainer.strategy.launcher, "procs", [])
    for process in processes:
        process.kill()
        process.wait()
    processes.clear()  # Lightning's observer of these processes would kill this one too
