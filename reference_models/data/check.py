"""The work of ``reference-models check-data``: opens every picture and landmark file, and formats the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from rich.markup import escape
from rich.table import Table

from reference_models.data.dataset import Originals
from reference_models.data.landmark_files import read_landmarks
from reference_models.data.layouts import Reading
from reference_models.data.records import PRESENT, Record
from reference_models.data.tree import DataError, Finding, inside
from reference_models.faces.images import ImageError

_THREADS = 4
_AHEAD = 1024


def open_everything(reading: Reading, on_progress: Callable[[int], None]) -> list[Finding]:
    """Decode every picture and landmark file of a reading, in threads, and return a finding for each failure.

    Args:
        reading: The records of a dataset's copy.
        on_progress: Is called with the number of records checked so far.
    """
    pictures = Originals(reading.root)

    def check(record: Record) -> list[Finding]:
        failures = []
        try:
            pictures.image(record)
        except (ImageError, DataError) as error:
            failures.append(Finding("error", record.image, _without_root(error, reading)))
        try:
            if record.landmarks is not None:
                read_landmarks(inside(reading.root, record.landmarks))
        except DataError as error:
            failures.append(Finding("error", record.landmarks or "", _without_root(error, reading)))
        return failures

    findings: list[Finding] = []
    remaining: Iterator[Record] = iter(reading.records)
    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(remaining, _AHEAD)):
            for failures in pool.map(check, chunk):
                findings += failures
                done += 1
                on_progress(done)
    return findings


def finding_lines(findings: Sequence[Finding], most: int | None) -> Iterator[str]:
    """Yield a line with Rich markup for each finding, errors first; at most ``most`` of each level, None for all."""
    colours = {"error": "red", "note": "yellow"}
    for level, colour in colours.items():
        chosen = [finding for finding in findings if finding.level == level]
        for finding in chosen[:most]:
            yield f"[{colour}]{level}[/{colour}] {escape(finding.path)}: {escape(finding.text)}"
        if most is not None and len(chosen) > most:
            yield f"[{colour}]{level}[/{colour}] and {len(chosen) - most:,} more; --all shows them"


def summary(reading: Reading) -> Table:
    """Return a table of the usable frames, subjects and labels."""
    records = reading.records
    table = Table(title=reading.layout.title, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row("frames that can be used", f"{len(records):,}")
    for split, count in Counter(record.split for record in records if record.split).items():
        table.add_row(f"  {split}", f"{count:,}")
    if subjects := {record.subject for record in records if record.subject}:
        table.add_row("subjects", f"{len(subjects):,}")
        table.add_row("sequences", f"{len({record.sequence for record in records}):,}")
    table.add_row("frames with a neutral face", f"{sum(record.neutral is not None for record in records):,}")
    table.add_row("frames with landmarks", f"{sum(record.landmarks is not None for record in records):,}")
    for name, count in _labels(reading):
        table.add_row(name, f"{count:,}")
    return table


def _labels(reading: Reading) -> Iterator[tuple[str, int]]:
    """Yield names and counts: of the labels that the paper uses, or of all labels if there is no paper."""
    threshold = reading.layout.threshold or 1
    labels = reading.layout.labels
    units: Iterable[int]
    if labels is None:
        units = sorted({unit for record in reading.records for unit in record.units})
    else:
        units = labels.units if labels.task == "action units" else ()
    if coded := sum(bool(record.units) for record in reading.records):
        yield f"coded frames; unit at level {threshold} or more", coded
        for unit in units:
            levels = [record.level(unit) for record in reading.records if unit in record.units]
            yield f"  AU{unit}", sum(level == PRESENT or level >= threshold for level in levels)
    if shown := Counter(record.expression for record in reading.records if record.expression):
        yield "frames with an expression", shown.total()
        yield from ((f"  {name}", count) for name, count in sorted(shown.items()))


def _without_root(error: Exception, reading: Reading) -> str:
    return str(error).replace(f"{reading.root}/", "")
