"""What the papers print beside what we count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnzoo.pages import Cell, Column, Section, Table, Words, number
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing
from benchmarks.tables.ledger import printed
from benchmarks.tables.notes import numbered

AGREES = {True: ("agrees", "yes"), False: ("differs", "no"), None: ("not printed", "")}


def reproduction(results: Results) -> Section:
    """Return the papers' printed figures beside ours."""
    result = results.read("ledger")
    intro = "Parameters and operations that the papers print, and what we count by the same rule."
    if result is None:
        return Section("figures", "Papers' figures", intro, [missing("ledger")])
    figures = result["figures"]
    columns = [
        Column("network", choice=True),
        Column("variant"),
        Column("counted", choice=True),
        Column("by the rule", choice=True),
        Column("printed in"),
        Column("paper", numeric=True),
        Column("ours", numeric=True),
        Column("exactly", numeric=True),
        Column("verdict", choice=True),
    ]
    notes = numbered(figure["reason"] for figure in figures)
    rows = [_figure(figure, notes) for figure in figures]
    return Section(
        "figures",
        "Papers' figures",
        intro,
        [
            Table("figures-all", "Every figure, agreeing or not", columns, rows, source(result)),
            Words(list(notes), quiet=True, numbered=True),
        ],
    )


def _figure(figure: Mapping[str, Any], notes: Mapping[str, int]) -> list[Cell]:
    text, verdict = AGREES[figure["agrees"]]
    note = f"note {notes[figure['reason']]}" if figure["reason"] else ""
    return [
        Cell(figure["network"], whole=True),
        Cell(figure["variant"], note=note),
        Cell(figure["quantity"]),
        Cell(figure["convention"]),
        Cell(figure["source"]),
        Cell(printed(figure), value=float(figure["paper"]) if figure["paper"] else None),
        Cell(f"{figure['ours']} {figure['unit']}", value=float(figure["ours"])),
        number(figure["computed"]),
        Cell(text, verdict=verdict),
    ]
