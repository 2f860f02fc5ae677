"""Pictures, order and random augmentation of an epoch, as functions of the run's seed and the epoch only.

So a killed run resumes exactly from its last complete epoch, and neither the number of training processes nor that of
decoding workers changes a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Order = Callable[[torch.Generator], Tensor]
"""Returns the indices of an epoch's pictures, (N,) int64, drawn with the generator."""


class Draw(NamedTuple):
    """Index of a picture in its dataset, and the epoch in which it is shown."""

    epoch: int
    picture: int


def seed_of(*numbers: int) -> int:
    """Return a seed of 63 bits, a hash of ``numbers``: a run's seed, then for example the epoch and the picture."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:  # SplitMix64's finaliser: consecutive numbers give unrelated seeds
        mixed = (mixed ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1


class EpochSampler(Sampler[list[Draw]]):
    """Batch sampler: yields this process's share of every batch of an epoch.

    The pictures of a global batch are dealt out to the processes in turn, so that all processes together see the batch
    that a single process would. An incomplete last batch is dropped.

    Args:
        order: Draws the indices of an epoch's pictures.
        seed: Seed of the run.
        batch_size: Pictures per step, over all processes.
        rank: Number of this process, from 0.
        world_size: Number of processes.
        epoch: Epoch of the first iteration, until :meth:`set_epoch` is called.

    Raises:
        ValueError: If ``batch_size`` is not a multiple of ``world_size``, or larger than an epoch.
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
        """This object: Lightning calls ``set_epoch`` of ``batch_sampler.sampler``, not of the batch sampler itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; Lightning calls this before each epoch."""
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
    """Wraps a dataset so that the random transforms of a sample depend only on seed, epoch and index.

    It is indexed by a :class:`Draw`.

    Args:
        dataset: Dataset that returns a sample for an index.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Sequence[Any] | Dataset[Any], seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, draw: Draw) -> Any:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: with an uninitialised accelerator it records a whole traceback at every call.
            torch.default_generator.manual_seed(seed_of(self.seed, draw.epoch, draw.picture))
            return self.dataset[draw.picture]


def shuffled(count: int) -> Order:
    """Return an order that shows each of ``count`` pictures once, in random order."""
    return lambda generator: torch.randperm(count, generator=generator)
