"""The outcome of every cell of the capability table, from ``capabilities.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Cells(NamedTuple):
    """The cells of the capability table.

    Attributes:
        groups: The group of each subject, subjects in order.
        capabilities: The capabilities in order.
        outcomes: The row of each cell, by subject and capability.
        passed: How many cells pass.
    """

    groups: dict[str, str]
    capabilities: list[str]
    outcomes: dict[tuple[str, str], Mapping[str, Any]]
    passed: int


def cells(rows: Sequence[Mapping[str, Any]]) -> Cells:
    """Return the cells that the rows of the result describe."""
    return Cells(
        {row["subject"]: row["group"] for row in rows},
        list(dict.fromkeys(row["capability"] for row in rows)),
        {(row["subject"], row["capability"]): row for row in rows},
        sum(row["outcome"] == "passes" for row in rows),
    )
