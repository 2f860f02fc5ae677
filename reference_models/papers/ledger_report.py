"""The ledger as tables for the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.table import Table

from attnzoo.files import write_atomically
from reference_models.papers.ledger import UNITS, Figure, totals


def tables(figures: Sequence[Figure]) -> list[Table]:
    """Return a table for each network, at most 80 characters wide; a number after a verdict refers to :func:`notes`."""
    marks = {reason: number for number, reason in enumerate(_reasons(figures), start=1)}
    by_network: dict[str, Table] = {}
    for figure in figures:
        if figure.network not in by_network:
            by_network[figure.network] = _empty_table(figure.network)
        unit, _ = UNITS[figure.quantity]
        verdict = {True: "[green]agrees[/green]", False: "[red]differs[/red]", None: "-"}[figure.agrees]
        by_network[figure.network].add_row(
            figure.variant,
            figure.convention,
            "-" if figure.paper is None else f"{figure.paper} {unit}",
            f"{figure.ours} {unit}",
            f"{figure.computed:,}",
            f"{verdict} {marks[figure.reason]}" if figure.reason else verdict,
        )
    return list(by_network.values())


def _empty_table(network: str) -> Table:
    result = Table(box=None, title=network, title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    result.add_column("variant", min_width=20, no_wrap=True)
    result.add_column("counted as", min_width=10, no_wrap=True)
    for column, width in (("paper", 8), ("ours", 9), ("exactly", 13)):
        result.add_column(column, min_width=width, justify="right", no_wrap=True)
    result.add_column("", no_wrap=True)
    return result


def notes(figures: Sequence[Figure]) -> list[str]:
    """Return a numbered line for each reason, then a line with the total of each network and source."""
    lines = [f"{number}  {reason}" for number, reason in enumerate(_reasons(figures), start=1)]
    for (network, source), (agree, printed) in totals(figures).items():
        lines.append(f"{network}, {source}: {agree} of {printed} agree")
    return lines


def as_record(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return the figures, the totals and the package versions as plain values for JSON."""
    return {
        "versions": {name: metadata.version(name) for name in ("attnzoo", "torch", "torchvision", "timm", "fvcore")},
        "totals": [
            {"network": network, "source": source, "agree": agree, "printed": printed}
            for (network, source), (agree, printed) in totals(figures).items()
        ],
        "figures": [
            {**asdict(figure), "ours": str(figure.ours), "unit": UNITS[figure.quantity][0], "agrees": figure.agrees}
            for figure in figures
        ],
    }


def write_json(figures: Sequence[Figure], path: Path) -> None:
    """Write :func:`as_record` to ``path`` atomically.

    Raises:
        OSError: If the directory does not exist or cannot be written.
    """
    write_atomically(path, (json.dumps(as_record(figures), indent=2) + "\n").encode())


def _reasons(figures: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(figure.reason for figure in figures if figure.reason))
