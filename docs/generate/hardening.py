"""The tables of what was tried beyond the ordinary: capabilities, and what else is run on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.tables.capabilities import cells
from benchmarks.tables.notes import numbered
from docs.generate.markdown import made_on

MARKS = {"passes": "yes", "by design": "no", "fails": "**fails**"}


def capabilities(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Return header and rows of the capability table, and below it why a cell is not "yes"."""
    rows = result["rows"]
    found, notes = cells(rows), numbered(row["reason"] for row in rows)
    table = [
        [name, *(_cell(found.outcomes[subject, name], notes) for subject in found.groups)]
        for name in found.capabilities
    ]
    listed = "\n".join(f"{number}. {reason}" for reason, number in notes.items())
    said = f"{found.passed} of {len(rows)} cells pass ({found.passed / len(rows):.1%}). The others:\n\n{listed}\n\n"
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return ["", *found.groups], table, f"{said}{made_on(result)}; {versions}."


def _cell(row: Mapping[str, Any], notes: Mapping[str, int]) -> str:
    return MARKS[row["outcome"]] + (f" ({notes[row['reason']]})" if row["reason"] else "")


def fuzzed(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Return what was tried by kind of target, and what was found."""
    rows = []
    for kind, what in (("layer", "calls of layers"), ("command", "calls of commands"), ("reader", "damaged files")):
        mine = [row for row in result["rows"] if row["kind"] == kind]
        found = [f"{row['target']}: {row['found']}" for row in mine if row["found"]]
        rows.append([what, str(len(mine)), f"{sum(row['tried'] for row in mine):,}", "; ".join(found) or "nothing"])
    return ["what", "targets", "tried", "not documented"], rows, f"{made_on(result)}."


def dependencies(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Return the direct dependencies with their licences, and below them what is known of vulnerabilities."""
    asked = [row["known vulnerabilities"] for row in result["rows"]]
    shown = ["package", "needed for", "version", "licence"]
    if any(answer not in {"not known", "not asked"} for answer in asked):
        shown.append("known vulnerabilities")
    command = "python -m benchmarks.robustness.dependencies"  # the result's names a path of the machine too
    said = f"Vulnerabilities: {result['vulnerabilities']}. {made_on({**result, 'command': command})}."
    return shown, [[row[column] for column in shown] for row in result["rows"]], said


TABLES = {"capabilities": capabilities, "fuzz": fuzzed, "dependencies": dependencies}
