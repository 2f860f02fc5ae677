"""A table that can be sorted and filtered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

MOST_CHOICES = 12
"""Largest number of different values of a column that is offered as a filter."""
FEW = 8
"""A table with fewer rows has no filters."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Its heading.
        numeric: Whether its cells are numbers: aligned right, with digits of equal width.
        choice: Whether it is offered as a filter.
        unit: Unit of its numbers, shown small next to the heading.
    """

    title: str
    numeric: bool = False
    choice: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: The cell's text.
        value: The sort key; the text by default.
        verdict: ``yes``, ``no`` or ``open``, shown by colour and mark; empty for none.
        share: Length of a bar with a mark at 1; None for no bar.
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
        """The sort key."""
        return self.text if self.value is None else self.value


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        key: Its id on the page.
        caption: Its caption, one sentence.
        columns: Its columns.
        rows: Its rows, each with a cell for every column.
        source: The source of its figures.
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
        filters: dict[int, tuple[str, list[str]]] = {}
        if len(self.rows) < FEW:
            return filters
        for index, column in enumerate(self.columns):
            values = list(dict.fromkeys(row[index].text for row in self.rows))
            if column.choice and 1 < len(values) <= MOST_CHOICES:
                filters[index] = (column.title, values)
        return filters

    @property
    def searchable(self) -> bool:
        """Whether the table has enough rows for a search field."""
        return len(self.rows) >= FEW


def number(value: Any) -> Cell:
    """Return a cell for any value: numbers with four digits, lists separated by commas, a dash for None."""
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
    """Return a shape as text without line breaks, with multiplication signs between its numbers."""
    return "\u00a0\u00d7\u00a0".join(map(str, shape))


def _figure(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
