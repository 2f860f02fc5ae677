"""Two ledgers: what the papers print beside what we compute, and what they claim beside what we measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnzoo.pages import Cell, Column, Section, Table, Words, number
from attnzoo.report.results import Results, missing, source

AGREES = {True: ("agrees", "yes"), False: ("differs", "no"), None: ("not printed", "")}
VERDICTS = {"holds": "yes", "does not hold": "no", "undecided": "open"}


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
    notes = list(dict.fromkeys(figure["reason"] for figure in figures if figure["reason"]))
    rows = [_figure(figure, notes) for figure in figures]
    return Section(
        "figures",
        "Papers' figures",
        intro,
        [
            Table("figures-all", "Every figure, agreeing or not", columns, rows, source(result)),
            Words(notes, quiet=True, numbered=True),
        ],
    )


def _figure(figure: Mapping[str, Any], notes: list[str]) -> list[Cell]:
    text, verdict = AGREES[figure["agrees"]]
    note = f"note {notes.index(figure['reason']) + 1}" if figure["reason"] else ""
    return [
        Cell(figure["network"]),
        Cell(figure["variant"], note=note),
        Cell(figure["quantity"]),
        Cell(figure["convention"]),
        Cell(figure["source"]),
        Cell(f"{figure['paper']} {figure['unit']}", value=float(figure["paper"])) if figure["paper"] else Cell("-"),
        Cell(f"{figure['ours']} {figure['unit']}", value=float(figure["ours"])),
        number(figure["computed"]),
        Cell(text, verdict=verdict),
    ]


def claims(results: Results) -> Section:
    """Return the papers' claims beside what was measured on synthetic faces."""
    result = results.read("claims-small")
    intro = (
        "What the papers claim of accuracy, tested on synthetic faces with several seeds; a claim that does not hold "
        "stays in the table."
    )
    if result is None:
        return Section("claims", "Claims", intro, [missing("claims-small")])
    rows = results.rows("claims-small")
    table = Table("claims-all", "Every claim", _columns(rows), [_claim(row) for row in rows], source(result))
    return Section("claims", "Claims", intro, [table])


def _columns(rows: list[dict[str, Any]]) -> list[Column]:
    first = rows[0] if rows else {}
    return [
        Column(key.replace("_", " "), numeric=_is_figure(value), choice=isinstance(value, str))
        for key, value in first.items()
    ]


def _claim(row: Mapping[str, Any]) -> list[Cell]:
    return [
        Cell(str(value), verdict=VERDICTS[value]) if key == "verdict" and value in VERDICTS else number(value)
        for key, value in row.items()
    ]


def _is_figure(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
