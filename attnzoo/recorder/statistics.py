"""What a gate did over many passes, in a few numbers: kept as running totals, so that a long run takes no memory.

A value is *saturated* within :data:`MARGIN` of 0 or 1, where a sigmoid hardly learns. A channel of the gate is *dead*
if all its values ever were within the margin of 0 (what it gates is lost), and *open* if all were within it of 1 (it
gates nothing). The entropy is that of a coin that falls as the gate says, in bits: 1 at 0.5, 0 at 0 and 1. Weights that
are no sigmoids, such as DBA's signed ones, count 0 where they are below 0 or above 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 0.01
MANY = 0.5
"""Share of a gate's channels that may be dead or open, and of its values that may be saturated, without a warning."""
LOOKED_AT = 2**13
"""Values of a gate and pass that go into the statistics, where thinning its pixels can bring it down to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatistics:
    """What one gate did over all recorded passes; see :mod:`attnzoo.recorder.statistics` for the words.

    Attributes:
        gate: ``module:name``.
        shape: Shape of the gate in the latest pass, without the batch.
        hard: Whether it is a mask of 0 and 1 by construction.
        values: Number of values looked at.
        mean: Their mean.
        std: Their standard deviation, over images, channels and pixels alike.
        low: The least of them.
        high: The greatest of them.
        entropy: Mean entropy in bits, 0 to 1.
        saturated: Share of saturated values, 0 to 1.
        channels: Channels of the gate, 1 for a spatial one.
        dead: Dead channels among them.
        open: Open channels among them.
    """

    gate: str
    shape: tuple[int, ...]
    hard: bool
    values: int
    mean: float
    std: float
    low: float
    high: float
    entropy: float
    saturated: float
    channels: int
    dead: int
    open: int

    def alert(self) -> str | None:
        """Return what is wrong with the gate in one sentence, or None. Masks may be what they are."""
        if not math.isfinite(self.mean):
            return f"{self.gate} holds NaN or infinities"
        if self.hard:
            return None
        for count, what in ((self.dead, "dead (always 0"), (self.open, "open (always 1")):
            if count > MANY * self.channels:
                return f"{self.gate}: {count} of {self.channels} channels are {what}, within {MARGIN})"
        if self.saturated > MANY:
            return f"{self.gate}: {self.saturated:.0%} of its values are saturated (within {MARGIN} of 0 or 1)"
        return None


class RunningStatistics:
    """The totals of one gate, on the gate's own device; nothing waits for the device before :meth:`result`."""

    def __init__(self, hard: bool) -> None:
        self.hard = hard
        self.shape: tuple[int, ...] = ()
        self._count = 0
        self._totals: Tensor | None = None  # sum, sum of squares, entropy, saturated
        self._bounds: Tensor | None = None  # (2, channels): greatest value, greatest of -value

    def add(self, gate: Tensor) -> None:
        """Take in the gate (B, C, ...) of one pass; with another number of channels their bounds start anew."""
        self.shape = tuple(gate.shape[1:])
        values = thinned(gate, LOOKED_AT).float().transpose(0, 1).flatten(1)  # (C, values)
        if values.numel() == 0:
            return
        share = values.clamp(0, 1)
        entropy = torch.special.entr(share) + torch.special.entr(1 - share)
        saturated = ((values - 0.5).abs() - 0.5).abs() <= MARGIN
        totals = torch.stack([values.sum(), values.square().sum(), entropy.sum(), saturated.sum()]).double()
        low, high = values.aminmax(dim=1)
        bounds = torch.stack([high, -low])
        self._totals = totals if self._totals is None else self._totals + totals
        if self._bounds is not None and self._bounds.shape == bounds.shape:
            bounds = torch.maximum(self._bounds, bounds)
        self._bounds = bounds
        self._count += values.numel()

    def result(self, name: str) -> GateStatistics | None:
        """Return the statistics under ``name``; None if the gate had no value yet."""
        if self._totals is None or self._bounds is None:
            return None
        mean, square, entropy, saturated = (self._totals / self._count).tolist()
        high, low = self._bounds[0], -self._bounds[1]
        return GateStatistics(
            gate=name,
            shape=self.shape,
            hard=self.hard,
            values=self._count,
            mean=mean,
            std=math.sqrt(max(0.0, square - mean * mean)) if math.isfinite(square) else math.nan,
            low=low.min().item(),
            high=high.max().item(),
            entropy=entropy / math.log(2),
            saturated=saturated,
            channels=len(high),
            dead=int((torch.maximum(high, -low) <= MARGIN).sum()),
            open=int((torch.maximum(high - 1, 1 - low) <= MARGIN).sum()),
        )


def alerts(statistics: Iterable[GateStatistics]) -> list[str]:
    """Return what is wrong, one sentence a gate."""
    return [alert for each in statistics if (alert := each.alert()) is not None]


def thinned(gate: Tensor, most: int) -> Tensor:
    """Return the gate with every s-th pixel of both axes, where s is the least that leaves at most ``most`` values."""
    if gate.numel() <= most or gate.dim() != 4:
        return gate
    step = 1
    height, width = gate.shape[2:]
    others = gate.shape[0] * gate.shape[1]
    while others * -(-height // step) * -(-width // step) > most and step < max(height, width):
        step += 1
    return gate[:, :, ::step, ::step]
