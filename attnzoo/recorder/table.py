"""The gates' statistics as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attnzoo.recorder.statistics import GateStatistics

HEADER = ("gate", "shape", "mean", "std", "range", "entropy", "saturated", "dead", "open")


def cells(one: GateStatistics) -> tuple[str, ...]:
    """Return one gate's statistics as texts, in the order of :data:`HEADER`."""
    return (
        one.gate,
        " x ".join(map(str, one.shape)),
        f"{one.mean:.3f}",
        f"{one.std:.3f}",
        f"{one.low:.3f} to {one.high:.3f}",
        f"{one.entropy:.2f}",
        "mask" if one.hard else f"{one.saturated:.0%}",
        f"{one.dead} of {one.channels}",
        f"{one.open} of {one.channels}",
    )


def table(statistics: Iterable[GateStatistics]) -> Any:
    """Return a ``rich`` table with one row per gate; gates with an alert are red."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(HEADER):
        rows.add_column(column, justify="right" if index > 1 else "left", overflow="fold")
    for one in statistics:
        rows.add_row(*map(Text, cells(one)), style="red" if one.alert() else "")
    return rows
