"""Worker processes of a preparation: none outlives its parent, and a crash loses only the item that caused it."""

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
"""Number of items queued for each process."""

_preparer: list[Preparer] = []


def results(
    tasks: Iterable[Task], root: Path, out: Path, preparation: Preparation, search: Search, *, workers: int
) -> Iterator[tuple[Item, Done | BaseException]]:
    """Yield each item with its result or its exception, in the order in which they are finished.

    If a process dies, all items that were queued or in work are repeated one at a time; an item whose process dies
    again is yielded with ``BrokenProcessPool``, and the work goes on.
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
                except BrokenProcessPool:  # an idle process died
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


def _pool(arguments: tuple[Path, Path, Preparation, Search], workers: int) -> ProcessPoolExecutor:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([__name__])  # imports happen once, not in every process
    return ProcessPoolExecutor(workers, context, _start, arguments)


def _start(root: Path, out: Path, preparation: Preparation, search: Search) -> None:
    """Set up a new process: one thread, no reaction to Ctrl-C (the parent handles it), exit when the parent ends."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    load("cv2", package="opencv-python-headless", extra="faces").setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()
    _preparer[:] = [Preparer(root, out, preparation, search)]


def _exit_with_parent(parent: int) -> None:
    wait_for_any([parent])
    os._exit(1)


def _work(item: Item, earlier: Entry | None) -> Done:
    return _preparer[0].prepare(item, earlier)
