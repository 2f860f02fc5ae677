"""The tables of what was tried beyond the ordinary: capabilities, and what else is run on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARKS = {"passes": "yes", "by design": "no", "fails": "**fails**"}


def capabilities(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Return header and rows of the capability table, and below it why a cell is not "yes"."""
    rows = result["rows"]
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    reasons = list(dict.fromkeys(row["reason"] for row in rows if row["reason"]))
    table: dict[str, dict[str, str]] = {}
    for row in rows:
        note = f" ({reasons.index(row['reason']) + 1})" if row["reason"] else ""
        table.setdefault(row["capability"], {})[row["subject"]] = MARKS[row["outcome"]] + note
    passed = sum(row["outcome"] == "passes" for row in rows)
    notes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    said = f"{passed} of {len(rows)} cells pass ({passed / len(rows):.1%}). The others:\n\n{notes}\n\n"
    said += f"`{result['command'].strip()}`, commit {result['commit'][:10]}, {result['date']}; {versions}."
    return ["", *subjects], [[name, *(cells[subject] for subject in subjects)] for name, cells in table.items()], said


def fuzzed(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Return what was tried by kind of target, and what was found."""
    rows = []
    for kind, what in (("layer", "calls of layers"), ("command", "calls of commands"), ("reader", "damaged files")):
        mine = [row for row in result["rows"] if row["kind"] == kind]
        found = [f"{row['target']}: {row['found']}" for row in mine if row["found"]]
        rows.append([what, str(len(mine)), f"{sum(row['tried'] for row in mine):,}", "; ".join(found) or "nothing"])
    said = f"`{result['command'].strip()}`, commit {result['commit'][:10]}, {result['date']}."
    return ["what", "targets", "tried", "not documented"], rows, said


def dependencies(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], str]:
    """Return the direct dependencies with their licences, and below them what is known of vulnerabilities."""
    asked = [row["known vulnerabilities"] for row in result["rows"]]
    shown = ["package", "needed for", "version", "licence"]
    if any(answer not in {"not known", "not asked"} for answer in asked):
        shown.append("known vulnerabilities")
    said = f"Vulnerabilities: {result['vulnerabilities']}. "
    said += f"`python -m benchmarks.robustness.dependencies`, commit {result['commit'][:10]}, {result['date']}."
    return shown, [[row[column] for column in shown] for row in result["rows"]], said


TABLES = {"capabilities": capabilities, "fuzz": fuzzed, "dependencies": dependencies}
