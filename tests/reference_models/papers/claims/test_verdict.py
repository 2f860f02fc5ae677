"""The rule: against a case worked by hand, against scipy's own interval, and at its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reference_models.papers.claims.verdict import Effect, effect_of, judge


def effect(low: float, high: float, count: int = 5) -> Effect:
    return Effect((low + high) / 2, 0.01, low, high, count)


def test_by_hand():
    """Differences 1, 2, 3: mean 2, deviation 1; t(0.95, 2) = 2.920, so 2 +- 2.920 / sqrt(3)."""
    found = effect_of([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation, found.count) == (2.0, 1.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 1.6859, 2 + 1.6859), abs=1e-4)


@pytest.mark.parametrize("count", [2, 3, 6, 17])
def test_the_interval_is_scipys(count: int):
    differences = np.random.default_rng(count).normal(0.03, 0.02, count)
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    found = effect_of(differences.tolist())
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_one_replicate_or_none_says_nothing():
    assert effect_of([0.5]).low == -math.inf
    assert math.isnan(effect_of([]).mean)
    with pytest.raises(ValueError, match="differences must be finite, got nan"):
        effect_of([0.1, math.nan])


@pytest.mark.parametrize(
    ("low", "high", "count", "margin", "verdict"),
    [
        (0.001, 0.05, 5, 0.0, "holds"),
        (0.001, 0.015, 5, 0.0, "holds"),  # small, and on the claim's side all the same
        (-0.05, -0.01, 5, 0.0, "does not hold"),  # on the other side
        (-0.01, 0.015, 5, 0.0, "does not hold"),  # too small to matter
        (-0.01, 0.02, 5, 0.0, "undecided"),
        (0.0, 0.05, 5, 0.0, "undecided"),
        (0.5, 0.6, 2, 0.0, "undecided"),  # two replicates decide nothing
        (-0.015, 0.03, 5, -0.02, "holds"),  # no worse
        (-0.015, -0.005, 5, -0.02, "holds"),  # worse, by less than what matters
        (-0.05, -0.001, 5, -0.02, "does not hold"),
        (-0.05, 0.001, 5, -0.02, "undecided"),
    ],
)
def test_the_rule(low: float, high: float, count: int, margin: float, verdict: str):
    assert judge(effect(low, high, count), margin=margin, smallest=0.02) == verdict


def test_it_errs_in_one_of_twenty_where_nothing_is_true():
    """A claim without an effect is said to hold in 5% of all sweeps: 200 of 4,000, give or take three deviations."""
    generator = np.random.default_rng(1)
    wrong = sum(
        judge(effect_of(generator.normal(0, 0.02, 5).tolist()), margin=0, smallest=0.02) == "holds" for _ in range(4000)
    )
    assert abs(wrong - 200) < 3 * math.sqrt(4000 * 0.05 * 0.95)


def test_a_smallest_effect_must_be_one():
    with pytest.raises(ValueError, match="smallest must be positive, got 0"):
        judge(effect(0, 1), margin=0, smallest=0)
