"""Statistics of a gate over many passes, kept as running totals in constant memory.

A value is *saturated* within :data:`MARGIN` of 0 or 1, where a sigmoid's gradient is small. A channel of the gate is
*dead* if all its values were within the margin of 0 (the channel is suppressed), and *open* if all were within it of 1
(the gate has no effect). The entropy is that of a Bernoulli variable with the gate's value as probability, in bits: 1
at 0.5, 0 at 0 and 1. Values below 0 or above 1, as of DBA's signed weights, have an entropy of 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 0.01
MANY = 0.5
"""Largest share of dead or open channels, and of saturated values, that causes no warning."""
LOOKED_AT = 2**13
"""Number of a gate's values per pass above which only every second, third, .. pixel enters the statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatistics:
    """Statistics of one gate over all recorded passes; :mod:`attnzoo.recorder.statistics` defines the terms.

    Attributes:
        gate: ``module:name``.
        shape: Shape of the gate in the latest pass, without the batch.
        hard: Whether it is a mask of 0 and 1 by construction.
        values: Number of values in the statistics.
        mean: Mean of the values.
        std: Standard deviation of the values, over images, channels and pixels.
        low: Least value.
        high: Greatest value.
        entropy: Mean entropy in bits, 0 to 1.
        saturated: Share of saturated values, 0 to 1.
        channels: Number of channels, 1 for a spatial gate.
        dead: Number of dead channels.
        open: Number of open channels.
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
        """Return a sentence if the gate is dead, open, saturated or not finite, else None; masks may be saturated."""
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
    """The running totals of one gate, on its device, which is not synchronised before :meth:`result`."""

    def __init__(self, hard: bool) -> None:
        self.hard = hard
        self.shape: tuple[int, ...] = ()
        self._count = 0
        self._totals: Tensor | None = None  # sum, sum of squares, entropy, saturated
        self._bounds: Tensor | None = None  # (2, channels): greatest value, greatest of -value

    def add(self, gate: Tensor) -> None:
        """Add the gate (B, C, ...) of one pass; if its number of channels changes, the channels' bounds are reset."""
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
        """Return the statistics, with ``name`` as the gate's name; None if no values were added."""
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
    """Return the alerts of all gates that have one."""
    return [alert for each in statistics if (alert := each.alert()) is not None]


def thinned(gate: Tensor, most: int) -> Tensor:
    """Return every s-th pixel of the gate in both axes, with the least s that leaves at most ``most`` values."""
    if gate.numel() <= most or gate.dim() != 4:
        return gate
    step = 1
    height, width = gate.shape[2:]
    others = gate.shape[0] * gate.shape[1]
    while others * -(-height // step) * -(-width // step) > most and step < max(height, width):
        step += 1
    return gate[:, :, ::step, ::step]
