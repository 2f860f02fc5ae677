"""A recipe's network with its loss, scores and optimiser, as Lightning's trainer runs it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F

from reference_models.data.dataset import Batch
from reference_models.data.synthetic.action_units import MAX_LEVEL
from reference_models.training.calibration import Calibration
from reference_models.training.draws import seed_of
from reference_models.training.metrics import scores
from reference_models.training.networks import build, logits_of
from reference_models.training.outputs import Outputs
from reference_models.training.recipes import Recipe
from reference_models.training.trained import DESCRIPTION, RunRecord, description


class Learner(pl.LightningModule):
    """Lightning module that trains and scores the network of a recipe.

    Args:
        recipe: Network, loss, optimiser and schedule.
        seed: Seed of the initial weights and of random numbers drawn in a step.

    Attributes:
        record: Record of the run, stored in training states; None stores none.
        tested: Prefix of the names of test scores.
        calibration: Fitted at the last validation; None for expressions and before the first validation.
    """

    def __init__(self, recipe: Recipe, *, seed: int = 0) -> None:
        super().__init__()
        self.recipe = recipe
        self.seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed))
            self.network = build(recipe)
        self.scores = scores(recipe.labels)
        self.outputs = Outputs()
        self.calibration: Calibration | None = None
        self.tested = "test"
        self.record: RunRecord | None = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the network's description to a training state, so that it can be used like a model file."""
        if self.record is not None:
            checkpoint[DESCRIPTION] = description(self.record, calibration=self.calibration)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, labels)."""
        return logits_of(self.network, self.recipe, batch)

    def on_train_epoch_start(self) -> None:
        """Seed torch's generator for this epoch, so that a resumed run draws the same random numbers."""
        torch.manual_seed(seed_of(self.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's name
        """Return the loss of one step."""
        loss = self.loss(self(batch), batch)
        self.log(
            "train/loss",
            loss,
            prog_bar=True,
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(batch.target),
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's name
        """Add a batch of the validation side to the scores."""
        self._score(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's name
        """Add a batch of the test side to the scores."""
        self._score(batch, self.tested)

    def on_validation_epoch_end(self) -> None:
        """Fit the calibration on the validation side, and log the scores."""
        if self.recipe.labels.task == "action units":
            self.calibration = Calibration.fit(*self.outputs.compute())
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test side."""
        self._log_scores(self.tested)

    def _score(self, batch: Batch, side: str) -> None:
        logits = self(batch)
        self.log(f"{side}/loss", self.loss(logits, batch), on_epoch=True, sync_dist=True, batch_size=len(logits))
        self.scores.update(logits, batch)
        if batch.levels is not None:
            self.outputs.update(logits, batch.target, batch.levels)

    def _log_scores(self, side: str) -> None:
        values = dict(self.scores.compute())
        if self.calibration is not None:
            values |= self.calibration.scores(*self.outputs.compute())
        self.log_dict({f"{side}/{name}": value for name, value in values.items()})
        self.scores.reset()
        self.outputs.reset()

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of logits (B, labels): sigmoid or softmax cross-entropy, averaged over the batch."""
        if self.recipe.labels.task == "expressions":
            return F.cross_entropy(logits, batch.target)
        each = F.binary_cross_entropy_with_logits(logits, self._targets(batch), reduction="none")
        if self.recipe.loss == "mean":
            return each.mean()
        sizes = [len(group) for group in self.network.au_groups.values()]  # type: ignore[operator]
        return torch.stack([branch.mean() for branch in each.split(sizes, dim=1)]).sum()  # type: ignore[no-untyped-call]

    def _targets(self, batch: Batch) -> Tensor:
        """Return the target probabilities (B, A) of action units.

        With ``learned="level"`` that is the level divided by the highest one; a unit without a level keeps 0 or 1.
        """
        if self.recipe.learned == "presence" or batch.levels is None:
            return batch.target
        return torch.where(batch.levels.isnan(), batch.target, batch.levels / MAX_LEVEL)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the recipe's optimiser over the parameters that require gradients, and its schedule."""
        recipe = self.recipe
        trained = [p for p in self.network.parameters() if p.requires_grad]
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adamw":
            optimizer = torch.optim.AdamW(
                trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
            )
        else:
            optimizer = torch.optim.SGD(
                trained, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            )
        interval = recipe.schedule.interval
        length = recipe.epochs if interval == "epoch" else int(self.trainer.estimated_stepping_batches)
        scheduler = recipe.schedule.scheduler(optimizer, length)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}
