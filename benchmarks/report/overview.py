"""The overview: one figure for each thing that was promised, lost ones counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attnzoo.pages import Cell, Column, Section, Table, Tile, Tiles
from benchmarks.committed import KNOWN, Results
from benchmarks.tables.capabilities import cells
from benchmarks.tables.ledger import agreement
from benchmarks.tables.sweep import WHERE


def overview(results: Results) -> Section:
    """Return the figures, each with the section that shows what is behind it."""
    tiles = list(_tiles(results))
    blocks: list[Any] = [Tiles(tiles)] if tiles else []
    intro = "What was counted and measured, wins and losses alike; each figure leads to its table."
    return Section("overview", "Overview", intro, [*blocks, _drawn_from(results)])


def _tiles(results: Results) -> Iterator[Tile]:
    if ledger := results.read("ledger"):
        yield _tile(*agreement(ledger), "of the figures that the papers print are reproduced", "figures")
    if claims := results.rows("claims-small"):
        held = sum(claim["verdict"] == "holds" for claim in claims)
        yield _tile(held, len(claims), "of the papers' claims hold on synthetic faces", "claims")
    if goals := results.rows("goals"):
        yield _tile(sum(goal["held"] for goal in goals), len(goals), "goals of speed are held", "goals")
    if sweep := results.read("attach-sweep"):
        totals = sweep["summary"].values()
        for where in WHERE:
            passed, families = (sum(total[key] for total in totals) for key in (where, "families"))
            yield _tile(passed, families, f"families of models take attention at every {where}", "attach")
    if rows := results.rows("capabilities"):
        yield _tile(cells(rows).passed, len(rows), "cells of the capability table pass", "works")


def _tile(part: int, whole: int, what: str, section: str) -> Tile:
    return Tile(str(part), f"of {whole}", what, section, part / whole if whole else 0.0)


def _drawn_from(results: Results) -> Table:
    """Return the results that there are, and the known ones that are absent, each with its command."""
    titles = ("result", "what it is", "made on", "commit", "by", "state")
    columns = [Column(title, numeric=title == "made on") for title in titles]
    rows = []
    for name in [*KNOWN, *(name for name in results.names if name not in KNOWN)]:
        title, command = KNOWN.get(name, ("", ""))
        result = results.look(name)
        made = result.get("conditions", result)
        rows.append(
            [
                Cell(name),
                Cell(title or "see Others"),
                Cell(str(result.get("date", "-"))[:10]),
                Cell(str(made.get("commit", "-"))[:10], code=True),
                Cell(result.get("command", command) or "-", code=True),
                Cell("measured", verdict="yes") if result else Cell("not measured yet", verdict="open"),
            ]
        )
    return Table("overview-all", "What this page is drawn from", columns, rows)
