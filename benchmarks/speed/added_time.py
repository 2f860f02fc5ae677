"""What networks take, and what they add to a bare one, when they take turns."""

from __future__ import annotations

import operator
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

LEAST = 0.01
"""Milliseconds that a rival is taken to add where less was measured, so that a ratio can be told."""


class Pass(NamedTuple):
    """One pass of one network."""

    milliseconds: float
    page_faults: int


def one_pass(call: Callable[[], object]) -> Pass:
    """Call once; return how long it took and how many page faults this process had in it."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start = time.perf_counter()
    call()
    elapsed = (time.perf_counter() - start) * 1e3
    return Pass(elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)


def in_turns(candidates: Mapping[str, Callable[[], Pass]], rounds: int) -> dict[str, list[Pass]]:
    """Ask every candidate for a pass once a round, in an order drawn anew for each round, and return the passes."""
    passes: dict[str, list[Pass]] = {name: [] for name in candidates}
    draw = random.Random(0)  # noqa: S311 - an order of turns is no secret
    for _ in range(rounds):
        for name in draw.sample(list(candidates), len(candidates)):
            passes[name].append(candidates[name]())
    return passes


def summary(passes: Mapping[str, list[Pass]], rivals: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the figures of each network.

    Args:
        passes: Those of each network by its name, one a round; one is ``bare``, if added times are wanted.
        rivals: For some of the names, that of the network which it is compared with.

    Returns:
        By the networks' names, without what needs a network that is not there: ``median_ms`` and ``quartiles_ms`` of
        its times; ``added_ms``, the median over the rounds of its time less that of the bare one in the same round;
        ``of_timm``, that over what the rival adds; ``over_timm``, the median over the rounds of its time over the
        rival's; ``page_faults``, the median of a pass.
    """
    times = {name: [one.milliseconds for one in each] for name, each in passes.items()}
    first = times.get("bare")
    added = {name: _median_of(operator.sub, each, first) for name, each in times.items() if first}
    found = {}
    for name, each in times.items():
        low, median, high = statistics.quantiles(each, n=4)
        other = rivals.get(name) if rivals.get(name) in times else None
        found[name] = {
            "median_ms": round(median, 2),
            "quartiles_ms": [round(low, 2), round(high, 2)],
            "added_ms": round(added[name], 2) if added else None,
            "of_timm": round(added[name] / max(added[other], LEAST), 3) if added and other else None,
            "over_timm": round(_median_of(operator.truediv, each, times[other]), 3) if other else None,
            "page_faults": round(statistics.median(one.page_faults for one in passes[name])),
        }
    return found


def _median_of(combined: Callable[[float, float], float], own: list[float], other: list[float]) -> float:
    return statistics.median(map(combined, own, other))
