"""A table that can be sorted and filtered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

MOST_CHOICES = 12
"""A column with more different values is not offered as a filter of its own."""
FEW = 8
"""A table with fewer rows has no filters."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Its heading.
        numeric: Whether its cells are figures: set to the right, digits below digits.
        choice: Whether it is offered as a filter.
        unit: Of its figures, small beside the heading.
    """

    title: str
    numeric: bool = False
    choice: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What is read.
        value: What it is sorted by; the text by default.
        verdict: ``yes``, ``no`` or ``open``: its colour and mark. Empty for none.
        share: Length of a bar behind a mark at 1; None draws none.
        code: Whether the text is a name or a command.
        note: A smaller line below.
        whole: Whether the text stays on one line.
    """

    text: str
    value: float | str | None = None
    verdict: str = ""
    share: float | None = None
    code: bool = False
    note: str = ""
    whole: bool = False

    @property
    def order(self) -> float | str:
        """What it is sorted by."""
        return self.text if self.value is None else self.value


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        key: Its id on the page.
        caption: What it shows, one sentence.
        columns: Its columns.
        rows: A cell for each column.
        source: Where its figures come from.
        folded: Whether it is closed at first, for many rows.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    source: str = ""
    folded: bool = False
    template: ClassVar[str] = "table.html"

    @property
    def choices(self) -> Mapping[int, tuple[str, list[str]]]:
        """The filters: column number to its title and its different values, in the order of the rows."""
        found: dict[int, tuple[str, list[str]]] = {}
        if len(self.rows) < FEW:
            return found
        for index, column in enumerate(self.columns):
            values = list(dict.fromkeys(row[index].text for row in self.rows))
            if column.choice and 1 < len(values) <= MOST_CHOICES:
                found[index] = (column.title, values)
        return found

    @property
    def searchable(self) -> bool:
        """Whether there is enough to search in."""
        return len(self.rows) >= FEW


def number(value: Any) -> Cell:
    """Return a cell for any value of a result: figures with four digits, lists by commas, a dash for None."""
    if value is None:
        return Cell("-")
    if isinstance(value, bool):
        return Cell("yes" if value else "no", verdict="yes" if value else "no")
    if isinstance(value, (int, float)):
        return Cell(_figure(value), value=float(value))
    if isinstance(value, list):
        first = value[0] if value and isinstance(value[0], (int, float)) else None
        return Cell(", ".join(number(each).text for each in value) or "-", value=first)
    return Cell(str(value))


def sizes(shape: Sequence[int]) -> str:
    """Return a shape that stays on one line, a sign of multiplication between its numbers."""
    return "\u00a0\u00d7\u00a0".join(map(str, shape))


def _figure(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
