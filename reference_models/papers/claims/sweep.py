"""Executes all runs that the claims need, in one process or several; finished runs are not repeated.

Processes share only the folder: the holder of a run's file lock executes it, and a lock is released when its process
ends. So several commands may work on one folder at the same time, and a killed one leaves nothing to clean up.
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
"""Seconds that a process sleeps while all remaining runs are locked by other processes."""

OnEvent = Callable[[str, str], None]
"""Is called with ``began``, ``ended`` or ``waits`` and the title of a run."""


class _Pass(NamedTuple):
    """Number of runs that one pass over all runs completed, and that were locked by other processes."""

    completed: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one process of a sweep.

    Attributes:
        runs: The runs, in order.
        folder: Folder of results, faces and locks.
        conditions: Commit, versions and machine, stored with each result.
        weights: File of MobileNetV2's ImageNet weights; None if the user gave none.
        threads: Number of threads of torch.
        renderers: Number of processes that render faces; 0 renders in this process.
    """

    runs: Sequence[Run]
    folder: Path
    conditions: Mapping[str, Any]
    weights: Path | None
    threads: int
    renderers: int = 0

    def do(self, on_event: OnEvent) -> None:
        """Execute every unfinished run that no other process executes, until all runs are finished."""
        torch.set_num_threads(self.threads)
        while (passed := self._once(on_event)) != (0, 0):
            if passed.completed == 0:
                time.sleep(WAIT)

    def _once(self, on_event: OnEvent) -> _Pass:
        completed = waiting = 0
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
                    on_event("began", run.title)
                    run.execute(self.folder, self.conditions, weights=self.weights, workers=self.renderers)
                    on_event("ended", run.title)
                    completed += 1
            except Timeout:  # another process is rendering its faces
                on_event("waits", run.title)
                waiting += 1
            finally:
                lock.release()
        return _Pass(completed, waiting)


def runs_for(claims: Sequence[Claim | CostClaim], budget: Budget, *, baselines: bool) -> list[Run]:
    """Return the runs that claims need, in the order of execution.

    The first replicate of all variants comes first, then the second, and so on, so that a sweep that is stopped early
    has results for every claim.

    Args:
        claims: The claims to test.
        budget: Sizes and number of replicates.
        baselines: Whether to include the variants that no claim names.
    """
    needed = _named(claims) | ((VARIANTS.keys() - _named(CLAIMS.values())) if baselines else set())
    return [
        Run(variant, budget, replicate)
        for replicate in range(max(budget.replicates.values()))
        for name, variant in VARIANTS.items()
        if name in needed and replicate < budget.count(variant)
    ]


def left_out(runs: Sequence[Run], results: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of the variants without a result, each with the reason."""
    missing = {run.variant.name: run for run in runs if run.variant.name not in results}
    return {
        run.variant.title: "the weights were not given, see --weights" if run.pretrained else "not run yet"
        for run in missing.values()
    }


def threads_for(processes: int) -> int:
    """Return the number of threads for each of ``processes``: an equal share of the cores, at least 1."""
    return max(1, cores() // positive_int("processes", processes))


def _named(claims: Iterable[Claim | CostClaim]) -> set[str]:
    return {name for claim in claims if isinstance(claim, Claim) for name in (claim.first, claim.second)}


def sweep(work: Work, *, processes: int, on_event: OnEvent) -> None:
    """Execute the runs of ``work`` in one process or several.

    Args:
        work: The runs and their settings.
        processes: Number of processes; 1 uses this process.
        on_event: See :data:`OnEvent`.

    Raises:
        OSError: If the folder cannot be written.
        RuntimeError: If one of several processes failed; the others are stopped, finished runs are kept.
    """
    if positive_int("processes", processes) == 1:
        work.do(on_event)
        return
    (work.folder / RUNS).mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    team = [context.Process(target=_process, args=(work, events), daemon=True) for _ in range(processes)]
    for member in team:
        member.start()
    try:
        while any(member.is_alive() for member in team):
            _forward(events, on_event)
            if failed := [member.exitcode for member in team if member.exitcode]:
                raise RuntimeError(f"a process of the sweep ended with exit code {failed[0]}; finished runs are kept")
        _forward(events, on_event)
    finally:
        for member in team:
            member.terminate()
            member.join()


def _process(work: Work, events: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work.do(lambda *event: events.put(event))


def _end_with_parent() -> None:
    """End this process as soon as its parent process ends, also if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _forward(events: Any, on_event: OnEvent) -> None:
    """Call ``on_event`` with the queued events; wait half a second for further ones."""
    try:
        while True:
            on_event(*events.get(timeout=0.5))
    except queue.Empty:
        return
