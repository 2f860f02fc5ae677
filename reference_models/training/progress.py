"""Progress of a training run: one bar over the whole run with the time to go, and a printed line per epoch."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SPEED_OVER = 120.0
"""Seconds over which the speed is averaged to estimate the time to go."""


class RunProgress(Callback):
    """Draws the bar and prints the lines, in the first process only.

    Args:
        monitor: Validation score by which the best epoch is chosen, such as ``f1``.
        console: Output; the error stream by default.
    """

    def __init__(self, monitor: str, console: Console | None = None) -> None:
        self.monitor = monitor
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the bar, at the epoch from which a run resumes."""
        if not trainer.is_global_zero:
            return
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(),
            TextColumn("to go"), TimeRemainingColumn(),
        )  # fmt: skip
        steps = int(trainer.num_training_batches)
        self._bar = Progress(*columns, console=self.console, transient=True, speed_estimate_period=_SPEED_OVER)
        done = trainer.current_epoch * steps
        self._task = self._bar.add_task("", total=steps * int(trainer.max_epochs or 1), completed=done)
        self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Show the number of the epoch."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: ARG002
        """Advance the bar."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Print the line of the epoch that has ended, with the time to go."""
        if self._bar is None or trainer.state.fn != TrainerFn.FITTING:
            return
        score, epoch = float(trainer.callback_metrics[f"val/{self.monitor}"]), trainer.current_epoch + 1
        before = getattr(trainer.checkpoint_callback, "best_model_score", None)
        best = score if before is None else max(score, float(before))
        left = self._bar.tasks[0].time_remaining
        to_go = "" if left is None or epoch == trainer.max_epochs else f", {_duration(left)} to go"
        self.console.print(
            f"epoch {epoch} of {trainer.max_epochs}: validation {self.monitor} {score:.4f}, best {best:.4f}{to_go}",
            highlight=False,
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Remove the bar."""
        self._stop()

    def on_exception(self, *_: Any) -> None:
        """Remove the bar."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
