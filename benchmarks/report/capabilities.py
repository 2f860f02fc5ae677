"""What works with what: the capability table, exports, and versions of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attnzoo.pages import Cell, Column, Section, Table
from benchmarks.committed import KNOWN, Results, source
from benchmarks.report.missing import missing
from benchmarks.report.others import table
from benchmarks.tables.capabilities import cells

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
    found = cells(rows)
    columns = [Column("subject"), Column("group", choice=True), *map(Column, found.capabilities)]
    shown = [
        [
            Cell(subject, whole=True),
            Cell(group),
            *(_mark(found.outcomes.get((subject, name))) for name in found.capabilities),
        ]
        for subject, group in found.groups.items()
    ]
    yield Table("works-all", KNOWN["capabilities"][0], columns, shown, source(result))
    lacking = [row for row in rows if row["outcome"] != "passes"]
    if lacking:
        keys = ("subject", "capability", "outcome", "reason")
        why = [[Cell(row[key]) for key in keys] for row in lacking]
        yield Table("works-why", "Every cell that does not pass, and why", WHY, why, folded=True)


def _mark(row: Mapping[str, Any] | None) -> Cell:
    return Cell("-") if row is None else MARKS[row["outcome"]]
