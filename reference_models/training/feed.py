"""The data loaders of a run: batches drawn at random for training, in order for validation and test."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from reference_models.data.dataset import Batch, FaceDataset, collate
from reference_models.data.samplers import au_weights
from reference_models.training.draws import Draw, Drawn, EpochSampler, Order, shuffled
from reference_models.training.recipes import Recipe
from reference_models.training.sides import Sides

EVALUATED_AT_ONCE = 64


class Feed(pl.LightningDataModule):
    """Lightning data module of a run.

    Args:
        sides: Training, validation and test side.
        recipe: Batch size, number of batches and sampling.
        seed: Seed of the run.
        workers: Number of processes that decode pictures; 0 decodes in this process.

    Attributes:
        tested: Faces of the test loader; the test side at first.
        first_epoch: Epoch at which training starts or resumes.
    """

    def __init__(self, sides: Sides, recipe: Recipe, *, seed: int, workers: int) -> None:
        super().__init__()
        self.sides = sides
        self.recipe = recipe
        self.seed = seed
        self.workers = workers
        self.tested = sides.test
        self.first_epoch = 0

    def state_dict(self) -> dict[str, int]:
        """Return the entry of a training state: the number of the next epoch."""
        trainer: Any = self.trainer
        return {"next epoch": trainer.current_epoch + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Start with the epoch stored in a training state.

        The sampler needs it at construction: Lightning prefetches the first batches before it calls ``set_epoch``.
        """
        self.first_epoch = state_dict["next epoch"]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of this process's share of the training batches."""
        trainer: Any = self.trainer
        sampler = EpochSampler(
            self._order(),
            seed=self.seed,
            batch_size=self.recipe.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            epoch=self.first_epoch,
        )
        return self._loader(Drawn(self.sides.train, self.seed), batch_sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of this process's share of the validation side."""
        return self._in_order(self.sides.validation)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return a loader of this process's share of ``tested``."""
        return self._in_order(self.tested)

    def _order(self) -> Order:
        count = len(self.sides.train)
        drawn = count if self.recipe.batches is None else self.recipe.batches * self.recipe.batch_size
        if self.recipe.sampling == "au-weighted":
            weights = au_weights(self.sides.train.targets())
            return lambda generator: torch.multinomial(weights, drawn, replacement=True, generator=generator)
        if drawn <= count:
            return lambda generator: shuffled(count)(generator)[:drawn]
        return lambda generator: torch.cat([shuffled(count)(generator) for _ in range(-(-drawn // count))])[:drawn]

    def _in_order(self, dataset: FaceDataset) -> DataLoader[Batch]:
        trainer: Any = self.trainer
        indices = range(trainer.global_rank, len(dataset), trainer.world_size)
        batches = [
            [Draw(0, index) for index in indices[start : start + EVALUATED_AT_ONCE]]
            for start in range(0, len(indices), EVALUATED_AT_ONCE)
        ]
        return self._loader(Drawn(dataset, self.seed), batch_sampler=batches)

    def _loader(self, dataset: Drawn, **options: Any) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            **options,
        )
