"""Which photographs are prepared, from a folder or from a dataset's labels, with which landmarks and neutral frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reference_models.data import DataError, Reading, Record, read
from reference_models.data.tree import inside
from reference_models.data.video import SUFFIXES as VIDEO_SUFFIXES
from reference_models.preparation.items import (
    Item,
    PreparationError,
    named,
    scan,
    with_first_as_neutral,
    with_listed_neutrals,
    with_points,
)


@dataclass(frozen=True)
class Plan:
    """What is to be prepared.

    Attributes:
        items: The photographs.
        problems: What could not be looked at or used, and why.
        ignored: Number of files that are no photographs by their name.
    """

    items: Sequence[Item]
    problems: Mapping[str, str]
    ignored: int = 0


def planned(
    root: Path,
    out: Path,
    *,
    dataset: str | None = None,
    neutral: str | None = None,
    landmarks: Path | None = None,
    detect: bool = False,
) -> Plan:
    """Return what is to be prepared.

    Args:
        root: Folder of the photographs, or of a dataset.
        out: Folder of the results, which is left out.
        dataset: Name of a layout, whose labels say what is prepared; None takes every photograph under the root.
        neutral: ``first`` of each folder, ``dataset`` for its own, or a CSV file; None for no neutral frames.
        landmarks: A folder with a landmark file for each photograph.
        detect: Whether the dataset's own landmarks are left aside.

    Raises:
        DataError: If the dataset cannot be read, or is unknown.
        PreparationError: If there is nothing to prepare, or the options contradict each other.
        ValueError: If there is no such dataset.
    """
    if neutral == "dataset" and dataset is None:
        raise PreparationError("--neutral dataset needs --dataset")
    if dataset is None:
        found = scan(root, without=out)
        plan = Plan([Item(image) for image in found.images], found.problems, found.ignored)
    else:
        plan = _of_dataset(read(dataset, root, incomplete=True), detect=detect)
    items = list(plan.items)
    if neutral not in {None, "dataset"}:
        items = with_first_as_neutral(items) if neutral == "first" else with_listed_neutrals(items, Path(str(neutral)))
    if neutral is None:
        items = [replace(item, neutral=None, neutral_frame=None, neutral_points=None) for item in items]
    if landmarks is not None:
        items = with_points(items, landmarks)
    if not items and not plan.problems:
        raise PreparationError(f"{root} holds no photograph")
    return replace(plan, items=items)


def item_of(record: Record) -> Item:
    """Return what is prepared for a record, without landmarks."""
    return Item(
        record.image,
        frame=_number(record.image, record.frame),
        box=record.box,
        neutral=record.neutral,
        neutral_frame=_number(record.neutral, record.neutral_frame),
    )


def _number(image: str | None, frame: int | None) -> int | None:
    """Return the number of a frame inside a video; a photograph has none."""
    return frame if image is not None and PurePosixPath(image).suffix.lower() in VIDEO_SUFFIXES else None


def _of_dataset(reading: Reading, *, detect: bool) -> Plan:
    """Return the frames that a dataset's records name, and their neutral frames, each once."""
    points = {
        item_of(record).name: inside(reading.root, record.landmarks)
        for record in reading.records
        if record.landmarks is not None and not detect
    }
    items: dict[str, Item] = {}
    for record in reading.records:
        item = item_of(record)
        rest = None if item.neutral is None else points.get(named(item.neutral, item.neutral_frame))
        item = replace(item, points=points.get(item.name), neutral_points=rest)
        if items.setdefault(item.name, item).box != item.box:
            raise DataError(f"{item.name} shows more than one labelled face, which cannot be prepared apart")
    for item in list(items.values()):
        if item.neutral is not None:
            neutral = Item(item.neutral, item.neutral_frame, item.neutral_points)
            items.setdefault(neutral.name, neutral)
    problems = {finding.path: finding.text for finding in reading.findings if finding.level == "error"}
    return Plan([items[name] for name in sorted(items)], problems)
