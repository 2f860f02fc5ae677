"""Schedules of the learning rate, by epochs or by steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    PolynomialLR,
    SequentialLR,
    StepLR,
)

from reference_models.checks import positive_int


class Schedule(Protocol):
    """A schedule that can create torch's scheduler.

    Attributes:
        interval: Whether the scheduler steps after every epoch or every training step; also the unit of a run's length.
    """

    interval: ClassVar[Literal["epoch", "step"]]

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:
        """Return the scheduler for a run of ``length`` epochs or steps."""
        ...


class _ByEpochs:
    interval: ClassVar[Literal["epoch", "step"]] = "epoch"


@dataclass(frozen=True)
class Constant(_ByEpochs):
    """The learning rate never falls."""

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:  # noqa: ARG002 - as the others
        """Return the scheduler."""
        return ConstantLR(optimizer, factor=1.0, total_iters=0)


@dataclass(frozen=True)
class Step(_ByEpochs):
    """The learning rate is multiplied by ``factor`` after every ``every`` epochs."""

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        positive_int("every", self.every)

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:  # noqa: ARG002 - as the others
        """Return the scheduler."""
        return StepLR(optimizer, self.every, self.factor)


@dataclass(frozen=True)
class Poly(_ByEpochs):
    """The learning rate falls as ``(1 - epoch / epochs) ** power``; 0.9 is usual for a "poly" schedule."""

    power: float = 0.9

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:
        """Return the scheduler."""
        return PolynomialLR(optimizer, total_iters=length, power=self.power)


@dataclass(frozen=True)
class Cosine(_ByEpochs):
    """The learning rate rises from a tenth over ``warm_up`` epochs, then falls as half a cosine to nearly zero.

    None of the papers uses it.
    """

    warm_up: int = 1

    def __post_init__(self) -> None:
        positive_int("warm_up", self.warm_up)

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:
        """Return the scheduler for a run of ``length`` epochs."""
        return _cosine(optimizer, self.warm_up, length)


@dataclass(frozen=True)
class CosineBySteps:
    """Like :class:`Cosine`, but updated after every step, with ``warm_up`` in steps: for runs of few epochs."""

    warm_up: int = 200
    interval: ClassVar[Literal["epoch", "step"]] = "step"

    def __post_init__(self) -> None:
        positive_int("warm_up", self.warm_up)

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:
        """Return the scheduler for a run of ``length`` steps."""
        return _cosine(optimizer, self.warm_up, length)


def _cosine(optimizer: Optimizer, warm_up: int, length: int) -> LRScheduler:
    parts: list[LRScheduler] = [
        LinearLR(optimizer, 0.1, total_iters=warm_up),
        CosineAnnealingLR(optimizer, max(1, length - warm_up)),
    ]
    return SequentialLR(optimizer, parts, milestones=[warm_up])


@dataclass(frozen=True)
class ExponentialAfter(_ByEpochs):
    """The learning rate is constant for ``after`` epochs and is multiplied by ``factor`` after each later epoch."""

    after: int
    factor: float = 0.9

    def __post_init__(self) -> None:
        positive_int("after", self.after)

    def scheduler(self, optimizer: Optimizer, length: int) -> LRScheduler:  # noqa: ARG002 - as the others
        """Return the scheduler."""
        parts: list[LRScheduler] = [ConstantLR(optimizer, 1.0, total_iters=0), ExponentialLR(optimizer, self.factor)]
        return SequentialLR(optimizer, parts, milestones=[self.after])
