"""The work of ``reference-models folds``: reads a copy, divides it into folds, and makes a table of them."""

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
    """Read a copy and divide the frames that have the paper's labels.

    Args:
        layout: Name of the dataset's layout.
        root: Folder of the copy.
        selection: Side on which the best epoch is chosen.
        threshold: Level from which an action unit counts as present; None for the paper's.
        count: Number of parts, for datasets without printed or published division.
        seed: Seed of the division.
        incomplete: Whether to accept a copy with errors.

    Returns:
        The manifest, and the records that it covers.

    Raises:
        DataError: If the copy has errors and ``incomplete`` is false.
        ValueError: If the layout has no paper's labels, the threshold does not fit, or the frames cannot be divided.
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
    """Return a table of subjects and frames by fold and side; each picture of an unknown person counts as a subject."""
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
