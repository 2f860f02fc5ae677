"""Whether a claim holds: one rule for all of them, over paired replicates.

A claim says that its first variant is better than its second. In each replicate both are trained on the same persons,
in the same order and from the same seed, and scored on the same persons whom neither saw. The differences of their
scores, turned so that the claim's side is positive, have a two-sided 90% t interval. With the claim's margin m, 0 for
"better" and minus the smallest effect of interest for "no worse":

- **holds** if the whole interval lies above m;
- **does not hold** if the whole interval lies below m + the smallest effect of interest: whatever the effect is, it is
  too small to matter, or on the other side;
- **undecided** otherwise, and with fewer than three replicates.

Each answer is wrong in at most one of twenty cases where the truth lies at its limit (each is a one-sided t test at
5%), as far as differences are normal and replicates independent, which they are: each has persons of its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.90
FEWEST = 3
"""Replicates below which nothing is decided."""

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Effect:
    """By how much the first variant is better than the second.

    Attributes:
        mean: Of the differences; NaN without replicates.
        deviation: Their standard deviation; NaN with fewer than two.
        low: Lower end of the interval; minus infinity with fewer than two replicates.
        high: Upper end; infinity with fewer than two.
        count: Number of replicates.
    """

    mean: float
    deviation: float
    low: float
    high: float
    count: int


def effect_of(differences: Sequence[float]) -> Effect:
    """Return the mean of paired differences with its t interval.

    Args:
        differences: One for each replicate, positive where the claim is right.

    Raises:
        ValueError: If one is not finite.

    Example:
        >>> effect_of([1.0, 2.0, 3.0]).mean
        2.0
    """
    if bad := [value for value in differences if not math.isfinite(value)]:
        raise ValueError(f"differences must be finite, got {bad[0]}")
    count = len(differences)
    if count < 2:
        mean = differences[0] if differences else math.nan
        return Effect(mean, math.nan, -math.inf, math.inf, count)
    from scipy.special import stdtrit

    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    return Effect(mean, deviation, mean - half, mean + half, count)


def judge(effect: Effect, *, margin: float, smallest: float) -> Verdict:
    """Return the verdict by the module's rule.

    Args:
        effect: Of the paired replicates.
        margin: What the effect must exceed.
        smallest: The smallest effect of interest, positive.

    Raises:
        ValueError: If ``smallest`` is not positive.
    """
    if not smallest > 0:
        raise ValueError(f"smallest must be positive, got {smallest}")
    if effect.count < FEWEST:
        return "undecided"
    if effect.low > margin:
        return "holds"
    return "does not hold" if effect.high < margin + smallest else "undecided"
