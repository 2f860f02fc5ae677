"""What ``reference-models folds`` does: a copy read, divided, and told in a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich import box
from rich.table import Table

from reference_models.data.folds import Selection, Side, group_of, make_folds
from reference_models.data.layouts import read
from reference_models.data.manifest import Manifest, make_manifest
from reference_models.data.records import Record


def manifest_of(
    layout: str,
    root: Path,
    *,
    selection: Selection,
    threshold: int | None,
    count: int,
    seed: int,
    incomplete: bool,
) -> tuple[Manifest, list[Record]]:
    """Read a copy and divide the frames that have the paper's labels; return the manifest and these frames.

    Raises:
        DataError: If the copy has errors and ``incomplete`` is false.
        ValueError: If there is no paper to take labels from, a threshold does not fit, or the frames cannot be divided.
    """
    reading = read(layout, root, incomplete=incomplete)
    labels = reading.layout.labels
    if labels is None:
        raise ValueError(f"layout {layout!r} has no paper's labels: use make_folds and make_manifest with your own")
    if threshold is not None and reading.layout.threshold is None:
        raise ValueError(f"threshold must not be given for expressions, got {threshold}")
    records = [record for record in reading.records if record.has(labels)]
    folds = make_folds(layout, records, selection=selection, count=count, seed=seed)
    threshold = threshold or reading.layout.threshold
    return make_manifest(layout, records, labels, folds, threshold=threshold, selection=selection), records


def fold_table(manifest: Manifest, records: Sequence[Record]) -> Table:
    """Return subjects and frames of each side of each fold; pictures of nobody known count singly."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("fold", justify="right")
    table.add_column("side")
    for column in ("subjects", "frames"):
        table.add_column(column, justify="right")
    for number, fold in enumerate(manifest.folds, start=1):
        for side in get_args(Side):
            frames = fold.side(records, side)
            table.add_row(str(number), side, f"{len({group_of(record) for record in frames}):,}", f"{len(frames):,}")
    return table
