"""What the operations are held to, and whether a table of results holds it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rich.table import Table

Row = dict[str, Any]

FLOOR = {("cbam", "forward"): 2.0, ("cbam", "training"): 5.5, ("se", "forward"): 1.5, ("se", "training"): 3.5}
"""Copies of the map that no implementation can do without, pass by pass."""
WIDE = (8, 256, 56, 56)
"""The map for which the floor is looked at."""


class Goal(NamedTuple):
    """At least so many times faster than timm, eager and compiled; at most so many times the floor."""

    eager: float
    compiled: float
    floor: float


GOALS = {
    ("cbam", "forward", "fp32"): Goal(4.5, 2.2, 1.5),
    ("cbam", "forward", "bf16"): Goal(8, 2.2, 2),
    ("cbam", "training", "fp32"): Goal(6, 2.6, 2.5),
    ("cbam", "training", "bf16"): Goal(10, 3.4, 2.5),
    ("se", "forward", "fp32"): Goal(1.05, 1.05, 1.2),
    ("se", "forward", "bf16"): Goal(2.8, 1.2, 1.2),
    ("se", "training", "fp32"): Goal(2.3, 1.8, 2.5),
    ("se", "training", "bf16"): Goal(3.5, 3, 2.5),
}


USERS_GOALS = {("cbam", "fp32"): 3.0, ("cbam", "bf16"): 5.0, ("se", "fp32"): 1.5}
"""At least so many times faster than timm's eager layer: on one image, and attached by default on one and on eight."""


class Verdict(NamedTuple):
    """One goal beside what was measured; ``cases`` says over how many shapes and layouts.

    ``at_floor`` is what a layer would reach that takes the floor's copies of the map, each as long as the copy of
    the same case, and no time besides: for its calls, for waking threads, for its weights. None: no floor is known.
    """

    name: str
    goal: str
    measured: float
    at_floor: float | None
    cases: int
    held: bool


def verdicts(rows: list[Row]) -> Iterator[Verdict]:
    """Yield each goal for which something was measured."""
    yield from _alone([row for row in rows if row["shape"][0] > 1])
    for (layer, dtype), least in USERS_GOALS.items():
        for name, single in ((layer, True), (f"{layer} attached", False), (f"{layer} attached", True)):
            chosen = [r for r in rows if (r["layer"], r["dtype"], r["shape"][0] == 1) == (name, dtype, single)]
            for mode in dict.fromkeys(r["mode"] for r in chosen):
                ours, theirs = (
                    {_case(r): r["median_us"] for r in chosen if (r["mode"], r["provider"]) == (mode, provider)}
                    for provider in ("attnzoo native", "timm")
                )
                mean = _mean(time / ours[case] for case, time in theirs.items())
                said = f"{name} {mode} {dtype}, batch {1 if single else 8}, over timm"
                yield Verdict(said, f">= {least:g}", mean, None, len(theirs), mean >= least)


def _alone(rows: list[Row]) -> Iterator[Verdict]:
    """Yield the goals of layers alone on eight images."""
    for (layer, mode, dtype), goal in GOALS.items():
        chosen = [r for r in rows if (r["layer"], r["mode"], r["dtype"]) == (layer, mode, dtype)]
        ours = {_case(r): r for r in chosen if r["provider"] == "attnzoo native"}
        name = f"{layer} {mode} {dtype}"
        copies = {_case(r): r["median_us"] * FLOOR[layer, mode] for r in chosen if r["provider"] == "copy"}
        for provider, least in (("timm", goal.eager), ("timm compiled", goal.compiled)):
            theirs = {_case(r): r["median_us"] for r in chosen if r["provider"] == provider}
            if theirs:
                mean = _mean(time / ours[case]["median_us"] for case, time in theirs.items())
                floor = _mean(time / copies[case] for case, time in theirs.items())
                yield Verdict(f"{name} over {provider}", f">= {least:g}", mean, floor, len(theirs), mean >= least)
        wide = [r["copies"] / FLOOR[layer, mode] for case, r in ours.items() if case[0] == WIDE]
        if wide:
            worst = max(wide)
            yield Verdict(f"{name} over the floor", f"<= {goal.floor:g}", worst, 1, len(wide), worst <= goal.floor)


def table(rows: list[Row]) -> Table:
    """Return the goals as a table: geometric means, and for the floor the worst."""
    shown = Table("what", "goal", "measured", "at the floor", "cases", "held")
    for verdict in verdicts(rows):
        held = "yes" if verdict.held else "[bold red]NO"
        floor = "-" if verdict.at_floor is None else f"{verdict.at_floor:.2f}"
        shown.add_row(verdict.name, verdict.goal, f"{verdict.measured:.2f}", floor, str(verdict.cases), held)
    return shown


def _mean(ratios: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def _case(row: Row) -> tuple[tuple[int, ...], str]:
    return tuple(row["shape"]), row["layout"]
