"""Lightning callbacks of a run: they write training states and the run's record, stop early, and handle signals."""

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
    """Saves the training state of the best epoch, and with ``save_last`` of the last complete epoch, as safetensors.

    Lightning's ``save_last`` writes only when a new best state is written. Here ``last.safetensors`` is written after
    every validation, after ``best.safetensors``, so that the last state always records which epoch was the best.

    Args:
        folder: Folder of the files.
        filename: File name of the best state, without suffix.
        save_last: Whether to save the last state too.
        **options: Options of Lightning's ``ModelCheckpoint``.
    """

    FILE_EXTENSION = ".safetensors"

    def __init__(self, folder: str | Path, filename: str, *, save_last: bool = False, **options: Any) -> None:
        super().__init__(folder, filename, save_last=False, save_on_train_epoch_end=False, **options)
        self.keeps_last = save_last

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the best state if this epoch is better than all earlier ones, then the last state."""
        super().on_validation_end(trainer, pl_module)
        if self.keeps_last and trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            trainer.save_checkpoint(Path(str(self.dirpath)) / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore which epoch was the best; the paths follow the folder if it was moved."""
        here: dict[str, Any] = {"dirpath": self.dirpath}
        if state_dict["best_model_path"]:
            best = str(Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}")
            scores = {best: state_dict["best_model_score"]}
            here |= {"best_model_path": best, "kth_best_model_path": best, "best_k_models": scores}
        super().load_state_dict({**state_dict, **here})


class Patience(EarlyStopping):
    """Lightning's early stopping, which also trains no further when a run that had stopped is resumed.

    It decides after the validation, before the state is written, and not at the end of the epoch.

    Args:
        monitor: Name of the validation score.
        patience: Number of epochs without a better score after which training stops.
    """

    def __init__(self, monitor: str, *, patience: int) -> None:
        super().__init__(monitor, mode="max", patience=patience, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Stop at once if the resumed run had stopped already."""
        if self.wait_count >= self.patience or self.stopped_epoch > 0:
            trainer.should_stop = True


class FolderClaim(Callback):
    """Writes the record of a run into its folder after the first training step, and removes traces of failed starts.

    Args:
        record: Record of the run.
        folder: Folder of the run.
    """

    def __init__(self, record: RunRecord, folder: Path) -> None:
        self.record = record
        self.folder = folder
        self.claimed = False

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the record after the first step."""
        if not self.claimed and trainer.is_global_zero:
            self.record.claim(self.folder)
        self.claimed = True

    @contextmanager
    def undo_before_first_step(self) -> Iterator[None]:
        """Create the folder; if the ``with`` block fails before the first step, remove all files added since.

        Raises:
            OSError: If the folder cannot be created.
        """
        new = not self.folder.exists()
        before = set(self.folder.rglob("*"))
        self.folder.mkdir(parents=True, exist_ok=True)
        done = False
        try:
            yield
            done = True
        finally:
            if not done and not self.claimed and int(os.environ.get("LOCAL_RANK", "0")) == 0:
                for path in sorted(set(self.folder.rglob("*")) - before, reverse=True):  # a folder after its files
                    path.rmdir() if path.is_dir() else path.unlink()
                if new:
                    self.folder.rmdir()


class Signals(Callback):
    """Installs the signal handlers of :mod:`reference_models.interrupts` again after Lightning has replaced them.

    Of several processes only the first raises on a signal; the others ignore it and go on until the first ends them.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Install the handlers when training starts."""
        self._install(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Install the handlers when a validation starts."""
        self._install(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Install the handlers when a test starts."""
        self._install(trainer)

    def _install(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            interrupts.install()
        else:
            interrupts.ignore()


def end_other_processes(trainer: pl.Trainer) -> None:
    """Kill the training processes that Lightning started besides this one."""
    processes: list[Any] = getattr(trainer.strategy.launcher, "procs", [])
    for process in processes:
        process.kill()
        process.wait()
    processes.clear()  # Lightning's monitor of these processes would kill this process too
