"""A recipe's network with its loss, scores and optimiser, as Lightning's trainer runs it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from reference_models.data.dataset import Batch
from reference_models.training.draws import seed_of
from reference_models.training.metrics import scores
from reference_models.training.networks import build, logits_of
from reference_models.training.recipes import Recipe


class Learner(pl.LightningModule):
    """Trains and scores one network.

    Args:
        recipe: How.
        seed: Of the weights, and of whatever a step draws.
    """

    def __init__(self, recipe: Recipe, *, seed: int = 0) -> None:
        super().__init__()
        self.recipe = recipe
        self.seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed))
            self.network = build(recipe)
        self.scores = scores(recipe.labels)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, labels)."""
        return logits_of(self.network, self.recipe, batch)

    def on_train_epoch_start(self) -> None:
        """Draw from here on what this epoch draws in any run: see :mod:`reference_models.training.draws`."""
        torch.manual_seed(seed_of(self.seed, self.current_epoch, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's name
        """Return the loss of one step."""
        loss = self.loss(self(batch), batch.target)
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
        """Take a batch of the validation side into the scores."""
        self._score(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's name
        """Take a batch of the test side into the scores."""
        self._score(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation side."""
        self._conclude("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test side."""
        self._conclude("test")

    def _score(self, batch: Batch, side: str) -> None:
        logits = self(batch)
        self.log(f"{side}/loss", self.loss(logits, batch.target), on_epoch=True, sync_dist=True, batch_size=len(logits))
        self.scores.update(logits, batch)

    def _conclude(self, side: str) -> None:
        self.log_dict({f"{side}/{name}": value for name, value in self.scores.compute().items()})
        self.scores.reset()

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the paper's loss of logits (B, labels): sigmoid or softmax cross-entropy, averaged over the batch."""
        if self.recipe.labels.task == "expressions":
            return F.cross_entropy(logits, target)
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.recipe.loss == "mean":
            return each.mean()
        sizes = [len(group) for group in self.network.au_groups.values()]  # type: ignore[union-attr, arg-type]
        return torch.stack([branch.mean() for branch in each.split(sizes, dim=1)]).sum()

    def configure_optimizers(self) -> dict[str, Any]:
        """Return stochastic gradient descent over what is not frozen, and the recipe's schedule."""
        recipe = self.recipe
        optimizer = torch.optim.SGD(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        return {"optimizer": optimizer, "lr_scheduler": recipe.schedule.scheduler(optimizer, recipe.epochs)}
