"""What the papers claim of accuracy, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnzoo.pages import Cell, Column, Section, Table, Words, number
from benchmarks.committed import Results, source
from benchmarks.report.missing import missing

VERDICTS = {"holds": "yes", "does not hold": "no", "undecided": "open"}
COLUMNS = (
    Column("paper", choice=True),
    Column("claim"),
    Column("printed", numeric=True),
    Column("compared"),
    Column("score", choice=True),
    Column("first", numeric=True, unit="mean ± deviation"),
    Column("second", numeric=True, unit="mean ± deviation"),
    Column("difference", numeric=True, unit="with interval"),
    Column("n", numeric=True),
    Column("verdict", choice=True),
)


def claims(results: Results) -> Section:
    """Return the papers' claims beside what was measured on synthetic faces."""
    result = results.read("claims-small")
    intro = (
        "What the papers claim of accuracy, tested on synthetic faces, paired over replicates; a claim that does not "
        "hold stays in the table, and what differs from the paper's own conditions is said below it."
    )
    if result is None:
        return Section("claims", "Claims", intro, [missing("claims-small")])
    rows = [_claim(row) for row in results.rows("claims-small")]
    rule = "; ".join(f"{name} {value}" for name, value in result.get("rule", {}).items())
    words = [f"By the rule: {rule}."] if rule else []
    if meaning := result.get("budget", {}).get("meaning"):
        words.append(f"The budget: {meaning}.")
    table = Table("claims-all", "Every claim", COLUMNS, rows, source(result))
    return Section("claims", "Claims", intro, [table, Words(words, quiet=True)])


def _claim(row: Mapping[str, Any]) -> list[Cell]:
    verdict = row["verdict"]
    return [
        Cell(row["paper"], whole=True),
        Cell(row["claim"], note=row.get("remark", "")),
        Cell(" : ".join(row["printed"] or ["-"]), note=row.get("source", "")),
        Cell(" : ".join(row["compared"])),
        Cell(str(row["score"]).replace("_", " ")),
        _mean(row["first"]),
        _mean(row["second"]),
        _difference(row),
        number(row["n"]),
        Cell(verdict, verdict=VERDICTS[verdict]),
    ]


def _mean(value: Mapping[str, Any]) -> Cell:
    if value["mean"] is None:
        return number(None)
    mean = number(value["mean"])
    return Cell(f"{mean.text} ± {value['deviation']:.2g}" if value["deviation"] else mean.text, value=mean.value)


def _difference(row: Mapping[str, Any]) -> Cell:
    """Return the difference of the means; of what is counted and not measured, the ratio."""
    if "ratio" in row:
        return Cell(f"ratio {row['ratio']:.2f}", value=row["ratio"], note=f"at most {row['at most']:g}")
    found = row["difference"]
    if found["mean"] is None:
        return number(None)
    interval = f"{found['low']:+.3f} to {found['high']:+.3f}" if found["low"] is not None else ""
    return Cell(f"{found['mean']:+.3f}", value=found["mean"], note=interval)
