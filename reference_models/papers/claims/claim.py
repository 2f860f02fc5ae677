"""What a paper claims, as two networks of which one is said to be better, and what is trained to see whether it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

SCORES: Mapping[str, str] = MappingProxyType(
    {"tra-net": "f1_tuned", "cednn": "f1_tuned", "lla-net": "challenge_score", "dba-net": "mean_class_accuracy"}
)
"""Recipe to its paper's score. F1 is counted at thresholds that were chosen on the validation side: at 0.5 it says as
much of how often a unit is shown as of what was learnt."""

Paper = Literal["TRA-Net", "CEDNN", "DBA-Net", "LLA-Net"]

SMALLEST = 0.02
"""Smallest effect of interest where a paper prints none or a larger one: two points (the median printed is 2.5)."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network that is trained: the recipe of a paper with other values.

    Attributes:
        name: Unique; part of the names of files.
        title: What it is, for people.
        recipe: Key of :data:`reference_models.training.recipes.RECIPES`; the budget changes it first.
        changes: Values of the recipe in this variant.
        without: Options of the budget that this variant's network has not.
    """

    name: str
    title: str
    recipe: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper claims of two variants.

    Attributes:
        name: Unique, ``<paper>/<what>``.
        paper: Whose claim it is.
        statement: The claim.
        source: Where the paper makes it.
        first: Of the variant that is said to be better.
        second: The other one's.
        printed: The paper's figures of the first and the second, as they are printed; None if it prints none.
        score: What is compared: a score of the test side, or ``train/loss``, the mean over the epochs of the run.
        higher: Whether more is better.
        margin: What the difference must exceed: 0 for "better", ``-SMALLEST`` for "no worse".
        remark: What must be known to read the row.
    """

    name: str
    paper: Paper
    statement: str
    source: str
    first: str
    second: str
    printed: tuple[str, str] | None
    score: str
    higher: bool = True
    margin: float = 0.0
    remark: str = ""

    @property
    def smallest(self) -> float:
        """Smallest effect of interest: two points, or what the paper prints if that is less."""
        if self.printed is None or self.margin:
            return SMALLEST
        first, second = map(Decimal, self.printed)
        return min(SMALLEST, float(abs(first - second)) / 100)


@dataclass(frozen=True, kw_only=True)
class CostClaim:
    """What a paper claims of what two networks compute, which is counted and not measured.

    Attributes:
        name: Unique, ``<paper>/<what>``.
        paper: Whose claim it is.
        statement: The claim.
        source: Where the paper makes it.
        first: Variant that is said to need fewer operations.
        second: The other one.
        printed: The paper's figures of the first and the second, in 10^9 operations.
        at_most: Largest ratio of first to second that the claim allows.
    """

    name: str
    paper: Paper
    statement: str
    source: str
    first: str
    second: str
    printed: tuple[str, str]
    at_most: float
