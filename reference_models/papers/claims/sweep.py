"""All runs that the claims need, made by one process or several, wherever an earlier sweep was stopped.

Processes share nothing but the folder: whoever holds a run's lock makes it, and a lock goes with its process. So
several commands may work on one folder side by side, and a killed one leaves nothing to clean up.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout

from reference_models.checks import positive_int
from reference_models.papers.claims.budget import Budget
from reference_models.papers.claims.claim import Claim, CostClaim
from reference_models.papers.claims.registry import CLAIMS
from reference_models.papers.claims.runs import RUNS, Run
from reference_models.papers.claims.variants import VARIANTS
from reference_models.processors import cores

LOCKS = "locks"

WAIT = 1.0
"""Seconds until a process looks again whether what it waits for is there."""

Told = Callable[[str, str], None]
"""Is called with ``began``, ``ended`` or ``waits`` and the title of a run."""


class _Pass(NamedTuple):
    made: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a process of a sweep does.

    Attributes:
        runs: In order.
        folder: Where results, faces and locks are.
        conditions: What the runs are made with, written beside each.
        weights: File of MobileNetV2's ImageNet weights; None if it was not given.
        threads: Threads that torch computes with.
        renderers: Processes that render faces; 0: this one.
    """

    runs: Sequence[Run]
    folder: Path
    conditions: Mapping[str, Any]
    weights: Path | None
    threads: int
    renderers: int = 0

    def do(self, told: Told) -> None:
        """Make every run that is not there and that nobody else is making, until all are there."""
        torch.set_num_threads(self.threads)
        while (passed := self._once(told)) != (0, 0):
            if passed.made == 0:
                time.sleep(WAIT)

    def _once(self, told: Told) -> _Pass:
        made = waiting = 0
        (self.folder / LOCKS).mkdir(parents=True, exist_ok=True)
        for run in self.runs:
            if run.result(self.folder) is not None:
                continue
            lock = FileLock(self.folder / LOCKS / f"{run.path(self.folder).stem}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                waiting += 1
                continue
            try:
                if run.result(self.folder) is None:
                    told("began", run.title)
                    run.make(self.folder, self.conditions, weights=self.weights, workers=self.renderers)
                    told("ended", run.title)
                    made += 1
            except Timeout:  # its faces are being rendered by another
                told("waits", run.title)
                waiting += 1
            finally:
                lock.release()
        return _Pass(made, waiting)


def runs_for(claims: Sequence[Claim | CostClaim], budget: Budget, *, baselines: bool) -> list[Run]:
    """Return the runs that claims need, in the order in which they are made.

    The first replicate of everything comes first, then the second, ..: a sweep that is stopped early gives a table.

    Args:
        claims: Those that are asked for.
        budget: How much is spent on them.
        baselines: Whether the variants that no claim names are wanted too.
    """
    needed = _named(claims) | ((VARIANTS.keys() - _named(CLAIMS.values())) if baselines else set())
    return [
        Run(variant, budget, replicate)
        for replicate in range(max(budget.replicates.values()))
        for name, variant in VARIANTS.items()
        if name in needed and replicate < budget.count(variant)
    ]


def left_out(runs: Sequence[Run], results: Mapping[str, Any]) -> dict[str, str]:
    """Return the variants of which there is no result, with the reason."""
    missing = {run.variant.name: run for run in runs if run.variant.name not in results}
    return {
        run.variant.title: "the weights were not given, see --weights" if run.pretrained else "not run yet"
        for run in missing.values()
    }


def threads_for(processes: int) -> int:
    """Return how many threads each of several processes should compute with."""
    return max(1, cores() // positive_int("processes", processes))


def _named(claims: Iterable[Claim | CostClaim]) -> set[str]:
    return {name for claim in claims if isinstance(claim, Claim) for name in (claim.first, claim.second)}


def sweep(work: Work, *, processes: int, told: Told) -> None:
    """Do the work, by several processes if that is wanted.

    Args:
        work: What is to be done.
        processes: How many; 1 is this one.
        told: See :data:`Told`.

    Raises:
        OSError: If the folder cannot be written.
        RuntimeError: If one of several processes failed; the others were stopped, finished runs are kept.
    """
    if positive_int("processes", processes) == 1:
        work.do(told)
        return
    (work.folder / RUNS).mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    team = [context.Process(target=_member, args=(work, events), daemon=True) for _ in range(processes)]
    for member in team:
        member.start()
    try:
        while any(member.is_alive() for member in team):
            _tell(events, told)
            if failed := [member.exitcode for member in team if member.exitcode]:
                raise RuntimeError(f"a process of the sweep ended with exit code {failed[0]}; finished runs are kept")
        _tell(events, told)
    finally:
        for member in team:
            member.terminate()
            member.join()


def _member(work: Work, events: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work.do(lambda *event: events.put(event))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _tell(events: Any, told: Told) -> None:
    """Pass on what the processes have said; wait a little if they have said nothing."""
    try:
        while True:
            told(*events.get(timeout=0.5))
    except queue.Empty:
        return
