"""Which pictures an epoch shows, in which order, and with which random numbers: functions of seed and epoch alone.

So a run that was killed goes on exactly where it was, from the last whole epoch, whatever drew random numbers before;
and neither the number of processes nor that of workers changes what a picture looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Order = Callable[[torch.Generator], Tensor]
"""Returns the numbers of an epoch's pictures, drawn with the generator."""


class Draw(NamedTuple):
    """One picture of one epoch."""

    epoch: int
    picture: int


def seed_of(*numbers: int) -> int:
    """Return a seed of 63 bits from a run's seed and what it is for."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:  # SplitMix64's finaliser: neighbouring numbers give unrelated seeds
        mixed = (mixed ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1


class EpochSampler(Sampler[list[Draw]]):
    """Batches of an epoch, this process's part of each.

    A step's pictures are those of the whole order, dealt out to the processes in turn, so that all processes together
    see what one alone would. What is left over after the last whole batch is left out of the epoch.

    Args:
        order: The epoch's pictures.
        seed: The run's.
        batch_size: Pictures of a step, over all processes.
        rank: Number of this process.
        world_size: Number of processes.
        epoch: The epoch that the first iteration is of, as long as nobody names another.

    Raises:
        ValueError: If ``batch_size`` is no multiple of the processes, or larger than an epoch.
    """

    def __init__(
        self, order: Order, *, seed: int, batch_size: int, rank: int = 0, world_size: int = 1, epoch: int = 0
    ) -> None:
        if batch_size % world_size:
            raise ValueError(f"batch_size must be a multiple of the {world_size} processes, got {batch_size}")
        self.order = order
        self.seed = seed
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self.epoch = epoch
        self.length = len(self._drawn()) // batch_size
        if self.length == 0:
            raise ValueError(
                f"batch_size must be at most the pictures of an epoch, {len(self._drawn())}, got {batch_size}"
            )

    @property
    def sampler(self) -> EpochSampler:
        """This object: Lightning names the epoch to ``batch_sampler.sampler`` and not to the batch sampler itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that the next iteration is of; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[Draw]]:
        drawn = self._drawn().tolist()
        for step in range(self.length):
            batch = drawn[step * self.batch_size : (step + 1) * self.batch_size]
            yield [Draw(self.epoch, index) for index in batch[self.rank :: self.world_size]]

    def _drawn(self) -> Tensor:
        return self.order(torch.Generator().manual_seed(seed_of(self.seed, self.epoch)))


class Drawn(Dataset[Any]):
    """A dataset whose random transforms depend on the draw alone.

    Args:
        dataset: Gives a sample for a number.
        seed: The run's.
    """

    def __init__(self, dataset: Sequence[Any] | Dataset[Any], seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Any:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: for an accelerator that is not awake it notes a whole traceback, each time anew.
            torch.default_generator.manual_seed(seed_of(self.seed, draw.epoch, draw.picture))
            return self.dataset[draw.picture]


def shuffled(count: int) -> Order:
    """Return the order that shows each of ``count`` pictures once."""
    return lambda generator: torch.randperm(count, generator=generator)
