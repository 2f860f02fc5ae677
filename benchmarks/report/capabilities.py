"""What works with what: the capability table, exports, and versions of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attnzoo.pages import Cell, Column, Section, Table
from benchmarks.report.others import table
from benchmarks.report.results import KNOWN, Results, missing, source

MARKS = {
    "passes": Cell("yes", verdict="yes"),
    "by design": Cell("by design", verdict="open"),
    "fails": Cell("no", verdict="no"),
}
WHY = (Column("subject", choice=True), Column("capability", choice=True), Column("outcome", choice=True), Column("why"))


def capabilities(results: Results) -> Section:
    """Return the outcome of every cell, and why those that do not pass do not."""
    intro = "Every cell is a test's outcome; where one does not pass, the reason stands below the table."
    blocks: list[Any] = [*_cells(results)]
    for name in ("export", "versions"):
        result = results.read(name)
        rows = results.rows(name)
        blocks.append(table(f"{name}-all", KNOWN[name][0], rows, source(result)) if result else missing(name))
    return Section("works", "Works with", intro, blocks)


def _cells(results: Results) -> Iterator[Any]:
    result = results.read("capabilities")
    if result is None:
        yield missing("capabilities")
        return
    rows = results.rows("capabilities")
    found = {(row["subject"], row["capability"]): row["outcome"] for row in rows}
    names = list(dict.fromkeys(row["capability"] for row in rows))
    subjects = {row["subject"]: row["group"] for row in rows}
    columns = [Column("subject"), Column("group", choice=True), *map(Column, names)]
    shown = [
        [Cell(subject, whole=True), Cell(group), *(_mark(found.get((subject, name))) for name in names)]
        for subject, group in subjects.items()
    ]
    yield Table("works-all", KNOWN["capabilities"][0], columns, shown, source(result))
    lacking = [row for row in rows if row["outcome"] != "passes"]
    if lacking:
        keys = ("subject", "capability", "outcome", "reason")
        why = [[Cell(row[key]) for key in keys] for row in lacking]
        yield Table("works-why", "Every cell that does not pass, and why", WHY, why, folded=True)


def _mark(outcome: str | None) -> Cell:
    return Cell("-") if outcome is None else MARKS[outcome]
