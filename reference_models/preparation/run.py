"""Runs a preparation: from a list of photographs to result files and a manifest; it may be interrupted and resumed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

from attnzoo.checks import positive_int
from attnzoo.files import OutputError
from reference_models.extras import MissingExtraError, load
from reference_models.faces.face import Outcome
from reference_models.preparation.items import Item
from reference_models.preparation.preparation import Preparation, Search, identity
from reference_models.preparation.steps import STAGES, Done
from reference_models.preparation.store import Store
from reference_models.preparation.workers import results

_NEEDED = (("cv2", "opencv-python-headless"), ("skimage", "scikit-image"))


@dataclass
class Report:
    """Counts and times of a preparation.

    Attributes:
        outcomes: Number of photographs for each outcome (which face was taken, or why none), earlier runs included.
        kept: Number of photographs whose results of an earlier run were still valid.
        failures: Path of each failed photograph to the reason, sorted.
        seconds: Wall-clock time of this run.
        stages: Seconds in each stage, summed over all processes.
        workers: Number of processes.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stages: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(STAGES, 0.0)))
    workers: int = 1

    def count(self, result: Done) -> None:
        """Add a photograph's result."""
        self.outcomes[result.entry.outcome] += 1
        self.kept += result.kept
        self.stages.update(result.seconds)

    @property
    def done(self) -> int:
        """Number of photographs with an outcome."""
        return self.outcomes.total()

    @property
    def per_second(self) -> float:
        """Photographs prepared per second in this run, without those kept from earlier runs."""
        return (self.done - self.kept) / self.seconds if self.seconds else 0.0

    @property
    def limit(self) -> str:
        """The stage that took the most time."""
        return max(self.stages, key=lambda stage: self.stages[stage])


def prepare(
    root: str | Path,
    out: str | Path,
    items: Sequence[Item],
    preparation: Preparation,
    search: Search | None = None,
    *,
    problems: Mapping[str, str] | None = None,
    workers: int = 1,
    redo: bool = False,
    advanced: Callable[[Report], None] | None = None,
) -> Report:
    """Prepare photographs and write the results and their manifest.

    The folder ends up with the same bytes however often the run is killed and repeated. Intact results with the same
    options are reused. It starts processes: a script must call it under ``if __name__ == "__main__":``.

    Args:
        root: Folder of the photographs.
        out: Folder of the results; new, empty, or of an earlier run.
        items: The photographs.
        preparation: Alignment and difference of each face.
        search: How the faces are detected; with dlib by default.
        problems: Path to reason of failures that are known already; they are added to the manifest.
        workers: Number of processes.
        redo: Whether to replace results in ``out`` that were made with other options.
        advanced: Is called with the report after each photograph.

    Raises:
        MissingExtraError: If the extra ``faces`` is not installed.
        PreparationError: If ``out`` holds other files, or results made with other options and ``redo`` is False.
        OutputError: If results cannot be written; finished results are kept.
        ValueError: If ``workers`` is below 1.
    """
    search = search or Search()
    root, out = Path(root).absolute(), Path(out).absolute()  # processes may have another working directory
    items = [_absolute(item) for item in items]
    positive_int("workers", workers)
    _load_packages(items, search)
    report = Report(workers=workers)
    failures = dict(problems or {})
    start, store = time.perf_counter(), Store(out, identity(preparation, search), redo=redo)
    try:
        tasks = ((item, store.before.get(item.name)) for item in items)
        for item, result in results(tasks, root, out, preparation, search, workers=workers):
            if isinstance(result, Done):
                store.keep(item.name, result.entry)
                report.count(result)
            elif isinstance(result, OutputError | MissingExtraError):
                raise result
            else:
                failures[item.name] = _failure_text(result)
            report.failures, report.seconds = failures, time.perf_counter() - start
            if advanced is not None:
                advanced(report)
        store.finish(failures)
    finally:
        store.close()
    report.failures, report.seconds = dict(sorted(failures.items())), time.perf_counter() - start
    return report


def _load_packages(items: Sequence[Item], search: Search) -> None:
    """Import the needed packages, so that a missing one is reported at once; dlib only if a face must be detected.

    Raises:
        MissingExtraError: If a package is not installed.
    """
    detects = search.detector != "aligned" and any(item.points is None for item in items)
    for module, package in (*_NEEDED, *((("dlib", "dlib-bin"),) if detects else ())):
        load(module, package=package, extra="faces")


def _absolute(item: Item) -> Item:
    points, neutral_points = (None if path is None else path.absolute() for path in (item.points, item.neutral_points))
    return replace(item, points=points, neutral_points=neutral_points)


def _failure_text(error: BaseException) -> str:
    if isinstance(error, BrokenProcessPool):
        return "the process that worked on it died"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
