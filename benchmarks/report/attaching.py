"""Attaching: to every family of models, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnzoo.pages import Cell, Column, Missing, Section, Table, Words, number
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing
from benchmarks.tables import sweep

COLUMNS = (
    Column("library", choice=True),
    Column("family"),
    Column("model"),
    Column("at stages", choice=False),
    Column("at blocks", choice=False),
    Column("outcome", choice=True),
    Column("layouts proven", numeric=True),
    Column("time", numeric=True, unit="s"),
)


def attaching(results: Results) -> Section:
    """Return the sweep over all families, and the overhead of an attached layer."""
    intro = "One layer attached to one model of every family: the same output at first, the same keys, and undone."
    return Section("attach", "Attach", intro, [*_sweep(results), _overhead(results)])


def _sweep(results: Results) -> list[Any]:
    result = results.read("attach-sweep")
    if result is None:
        return [missing("attach-sweep")]
    totals = [
        f"{library}: {total['stage']} of {total['families']} families pass at stages, {total['block']} at blocks."
        for library, total in result["summary"].items()
    ]
    checks = f"Checked each: {', '.join(check.replace('_', ' ') for check in result['checks'])}."
    rows = [_family(model, result["checks"]) for model in result["models"]]
    return [Words([*totals, checks]), Table("attach-all", "Every family", COLUMNS, rows, source(result))]


def _family(model: Mapping[str, Any], checks: Sequence[str]) -> list[Cell]:
    library, _, family = model["family"].partition("/")
    outcomes = [sweep.outcome(model, where, checks) for where in sweep.WHERE]
    passed = not any(outcome.reason for outcome in outcomes)
    return [
        Cell(library),
        Cell(family),
        Cell(model["model"], code=True),
        *map(_outcome, outcomes),
        Cell("passes" if passed else "not everywhere", verdict="yes" if passed else "no"),
        Cell(sweep.layouts(model), value=model.get("layout", {}).get("proven")),
        number(model.get("seconds")),
    ]


def _outcome(outcome: sweep.Outcome) -> Cell:
    return Cell(outcome.text, verdict="no" if outcome.reason else "yes", note=outcome.reason)


def _overhead(results: Results) -> Table | Missing:
    result = results.read("attach-overhead")
    if result is None:
        return missing("attach-overhead")
    rows = results.rows("attach-overhead")
    columns = [Column(name, numeric=number(value).value is not None) for name, value in rows[0].items()]
    shown = [[number(value) for value in row.values()] for row in rows]
    return Table("overhead-all", "What being attached costs by itself", columns, shown, source(result))
