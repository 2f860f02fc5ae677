"""The types of the claims: a claim compares two variants, a variant is a network to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

SCORES: Mapping[str, str] = MappingProxyType(
    {"tra-net": "f1_tuned", "cednn": "f1_tuned", "lla-net": "challenge_score", "dba-net": "mean_class_accuracy"}
)
"""Recipe to its paper's score. F1 uses thresholds chosen on the validation side: at 0.5 it would depend on how often a
unit is present as much as on what the network learned."""

Paper = Literal["TRA-Net", "CEDNN", "DBA-Net", "LLA-Net"]

SMALLEST = 0.02
"""Smallest effect of interest, unless a paper prints a smaller one: two points (the median printed effect is 2.5)."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network to train: a paper's recipe with changed fields.

    Attributes:
        name: Unique; part of file names.
        title: Description for people.
        recipe: Key of :data:`reference_models.training.recipes.RECIPES`; the budget changes it first.
        changes: Fields of the recipe that this variant changes.
        without: Options of the budget that this variant's network does not have.
    """

    name: str
    title: str
    recipe: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A paper's claim that one variant scores better than another, or no worse.

    Attributes:
        name: Unique, ``<paper>/<topic>``.
        paper: The paper that claims it.
        statement: The claim in words.
        source: Table or section of the paper.
        first: Name of the variant that the paper claims to be better.
        second: Name of the other variant.
        printed: The paper's figures of the first and the second, as printed; None if it prints none.
        score: The compared score: one of the test side, or ``train/loss``, the mean training loss over all epochs.
        higher: Whether a higher score is better.
        margin: Value that the difference must exceed: 0 for "better", ``-SMALLEST`` for "no worse".
        remark: Note that a reader of the result needs; may be empty.
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
        """Smallest effect of interest: two points, or the paper's printed effect if that is smaller."""
        if self.printed is None or self.margin:
            return SMALLEST
        first, second = map(Decimal, self.printed)
        return min(SMALLEST, float(abs(first - second)) / 100)


@dataclass(frozen=True, kw_only=True)
class CostClaim:
    """A paper's claim that one network needs fewer operations than another; the operations are counted exactly.

    Attributes:
        name: Unique, ``<paper>/<topic>``.
        paper: The paper that claims it.
        statement: The claim in words.
        source: Table or section of the paper.
        first: Name of the variant that the paper claims to need fewer operations.
        second: Name of the other variant.
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
