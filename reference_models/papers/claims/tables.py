"""The rows of a claims report as text, shared by the terminal, the Markdown page and the documentation.

``record`` in these functions is the report returned by :func:`.report.record`, or read from its JSON file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CLAIMS_HEADER = ("claim", "paper", "first", "second", "difference", "n", "verdict")
SCORES_HEADER = ("network", "faces", "size", "score", "mean", "standard deviation", "n", "seconds a run")
_GIGA = 1e9


def claim_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a claim's row, see :data:`CLAIMS_HEADER`.

    ``paper`` holds the two printed figures; ``first`` and ``second`` our means with standard deviations; ``difference``
    the mean difference with its interval, positive where the claim is right. A claim on operations has counts and their
    ratio instead.
    """
    source = f"{row['source']}: {' / '.join(row['printed'])}" if row["printed"] else f"{row['source']}: none printed"
    if "ratio" in row:
        first, second = (f"{row[side]['mean'] / _GIGA:.2f} G" for side in ("first", "second"))
        difference = f"{row['ratio']:.2f} of it"
    else:
        first, second = (_spread(row[side]) for side in ("first", "second"))
        difference = _interval(row["difference"])
    return (f"{row['paper']}: {row['claim']}", source, first, second, difference, str(row["n"]), row["verdict"])


def score_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a variant's row, see :data:`SCORES_HEADER`."""
    return (
        row["variant"],
        row["faces"],
        str(row["image size"]),
        row["score"].replace("_", " "),
        _number(row["mean"]),
        _number(row["deviation"]),
        str(row["n"]) + (f" ({row['failed']} overflowed)" if row["failed"] else ""),
        f"{row['seconds']:.0f}",
    )


def counted(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line with the number of claims of each verdict."""
    verdicts = [row["verdict"] for row in rows]
    each = ", ".join(f"{verdicts.count(name)} {name}" for name in ("holds", "does not hold", "undecided"))
    return f"{len(rows)} claims: {each}"


def notes(record: Mapping[str, Any]) -> str:
    """Return the text below the table of claims: number of verdicts, and each remark with the claims it belongs to."""
    remarks: dict[str, list[str]] = {}
    for row in record["rows"]:
        if row["remark"]:
            remarks.setdefault(row["remark"], []).append(f"`{row['name']}`")
    listed = "\n".join(f"- {', '.join(names)}: {remark}." for remark, names in remarks.items())
    return f"**{counted(record['rows'])}.**\n\n{listed}"


def made_with(record: Mapping[str, Any]) -> str:
    """Return the text below the table of scores: budget, recipes, command, commits, machine and versions."""
    budget = record["budget"]
    recipes = "\n".join(
        f"- `{name}`: {', '.join(f'{key} {value}' for key, value in values.items())}"
        for name, values in budget["recipes"].items()
    )
    left_out = "".join(f"\n- {name}: {reason}" for name, reason in record["left out"].items())
    versions = ", ".join(f"{key} {value}" for key, value in {**record["machine"], **record["versions"]}.items())
    commits = ", ".join(dict.fromkeys(str(run["commit"]) for run in record["runs made with"])) or "-"
    return (
        f"Budget {budget['name']}: {budget['identities']} persons a replicate, {budget['frames']} expressive frames of "
        f"each; the papers' recipes, but for\n\n{recipes}\n\n"
        + (f"Left out:\n{left_out}\n\n" if left_out else "")
        + f"`{record['command']}`; runs made at commit {commits}, in {record['core hours']} core hours; {versions}."
    )


def as_markdown(record: Mapping[str, Any]) -> str:
    """Return the report as a Markdown page."""
    claims = _markdown(CLAIMS_HEADER, [claim_cells(row) for row in record["rows"]])
    scores = _markdown(SCORES_HEADER, [score_cells(row) for row in record["scores"]])
    return f"# Claims\n\n{claims}\n{notes(record)}\n\n# Scores\n\n{scores}\n{made_with(record)}\n"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _spread(summary: Mapping[str, float | None]) -> str:
    if summary["mean"] is None:
        return "-"
    return _number(summary["mean"]) + (f" ± {summary['deviation']:.3f}" if summary["deviation"] is not None else "")


def _interval(effect: Mapping[str, float | None]) -> str:
    if effect["mean"] is None:
        return "-"
    mean = f"{effect['mean']:+.3f}"
    return mean if effect["low"] is None else f"{mean} ({effect['low']:+.3f} to {effect['high']:+.3f})"
