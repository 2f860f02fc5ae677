"""Processes that work on items side by side: none outlives its parent, and one that dies takes one item with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path

from reference_models.extras import load
from reference_models.preparation.items import Item
from reference_models.preparation.preparation import Preparation, Search
from reference_models.preparation.steps import Done, Preparer
from reference_models.preparation.store import Entry

Task = tuple[Item, Entry | None]
AHEAD = 4
"""Items that are handed out ahead for each process."""

_preparer: list[Preparer] = []


def results(
    tasks: Iterable[Task], root: Path, out: Path, preparation: Preparation, search: Search, *, workers: int
) -> Iterator[tuple[Item, Done | BaseException]]:
    """Yield each item with its result, or with what went wrong, in the order in which they are ready.

    If a process dies, those that were at work are tried again, each alone; the one that kills its process again is what
    went wrong with it, and the rest goes on.
    """
    waiting, suspects = iter(tasks), deque[Task]()
    running: dict[Future[Done], Task] = {}
    pool = _pool((root, out, preparation, search), workers)
    try:
        while True:
            alone, broken = bool(suspects), False
            room = 1 if alone else AHEAD * workers
            while len(running) < room and (task := suspects.popleft() if alone else next(waiting, None)) is not None:
                try:
                    running[pool.submit(_work, *task)] = task
                except BrokenProcessPool:  # one died while it had nothing to do
                    suspects.append(task)
                    broken = True
                    break
            if not running and not broken:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                task = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    broken = True
                    if not alone:
                        suspects.append(task)
                        continue
                yield task[0], error or future.result()
            if broken:
                suspects.extend(running.values())
                running.clear()
                pool.shutdown(cancel_futures=True)
                pool = _pool((root, out, preparation, search), workers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(made_of: tuple[Path, Path, Preparation, Search], workers: int) -> ProcessPoolExecutor:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([__name__])  # what is imported once need not be imported by every process
    return ProcessPoolExecutor(workers, context, _start, made_of)


def _start(root: Path, out: Path, preparation: Preparation, search: Search) -> None:
    """Prepare a new process: one thread, deaf to Ctrl-C, which its parent handles, and gone when its parent is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    load("cv2", package="opencv-python-headless", extra="faces").setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    _preparer[:] = [Preparer(root, out, preparation, search)]


def _follow(parent: int) -> None:
    wait_for_any([parent])
    os._exit(1)


def _work(item: Item, earlier: Entry | None) -> Done:
    return _preparer[0].prepare(item, earlier)
