"""What speed is held to, won and lost."""

from __future__ import annotations

import math

from attnzoo.pages import Cell, Column, Section, Table, number
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing

COLUMNS = (
    Column("what"),
    Column("goal", numeric=True),
    Column("measured", numeric=True),
    Column("of the goal", numeric=True),
    Column("cases", numeric=True),
    Column("held", choice=True),
)


def goals(results: Results) -> Section:
    """Return each goal beside what was measured."""
    intro = (
        "Ratios of medians within one run; over several cases the geometric mean, for the floor the worst. The floor "
        "is the number of passes over the map that no implementation can do without."
    )
    result = results.read("goals")
    if result is None:
        return Section("goals", "Goals", intro, [missing("goals")])
    rows = []
    for row in results.rows("goals"):
        share = attainment(row["goal"], row["measured"])
        rows.append(
            [
                Cell(row["name"]),
                Cell(row["goal"].replace(">=", "≥").replace("<=", "≤")),
                number(row["measured"]),
                Cell(f"{share:.0%}", value=share, share=share),
                number(row["cases"]),
                number(row["held"]),
            ]
        )
    caption = "Every goal, won or lost; the mark in a bar is the goal"
    return Section("goals", "Goals", intro, [Table("goals-all", caption, COLUMNS, rows, source(result))])


def attainment(goal: str, measured: float) -> float:
    """Return how far a goal such as ``>= 4.5`` or ``<= 2`` is reached: 1 and more if it is held."""
    relation, _, bound = goal.partition(" ")
    if relation == ">=":
        return measured / float(bound)
    return float(bound) / measured if measured else math.inf
