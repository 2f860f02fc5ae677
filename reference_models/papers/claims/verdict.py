"""Decides whether a claim holds: one rule for all claims, over paired replicates.

A claim states that its first variant is better than its second. In each replicate both are trained on the same persons,
in the same order and from the same seed, and scored on the same persons, whom neither was trained on. The differences
of their scores, with the sign that is positive if the claim is right, have a two-sided 90% t interval. With the claim's
margin m, 0 for "better" and minus the smallest effect of interest for "no worse":

- **holds** if the whole interval lies above m;
- **does not hold** if the whole interval lies below m + the smallest effect of interest: the effect is too small to
  matter, or has the opposite sign;
- **undecided** otherwise, and with fewer than three replicates.

Both verdicts are one-sided t tests at 5%: if the true effect lies at the limit, each is wrong in at most one of twenty
cases, provided that the differences are normally distributed. The replicates are independent: no two share a person.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.90
FEWEST = 3
"""Minimum number of replicates for a verdict."""

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Effect:
    """Mean difference between the first and the second variant, with its t interval.

    Attributes:
        mean: Mean of the differences; NaN without replicates.
        deviation: Their standard deviation; NaN with fewer than two.
        low: Lower end of the interval; minus infinity with fewer than two replicates.
        high: Upper end of the interval; infinity with fewer than two replicates.
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
    """Return the verdict by the rule in the module docstring.

    Args:
        effect: Effect over the paired replicates.
        margin: Value that the effect must exceed.
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
