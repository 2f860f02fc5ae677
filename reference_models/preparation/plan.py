"""Plans a preparation: lists the photographs of a folder or of a dataset, with their landmarks and neutral frames."""

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
    """The photographs to prepare.

    Attributes:
        items: The photographs.
        problems: Paths that could not be read or used, each with the reason.
        ignored: Number of files without a photograph's suffix.
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
    """Return the plan of a preparation.

    Args:
        root: Folder of the photographs, or of a dataset.
        out: Folder of the results, which is not searched.
        dataset: Name of a dataset's layout, to prepare the frames that its labels name; None prepares every photograph
            under the root.
        neutral: ``first`` for the first photograph of each folder, ``dataset`` for the dataset's neutral frames, or the
            path of a CSV file, see :func:`~.items.with_listed_neutrals`; None for no neutral frames.
        landmarks: A folder with a landmark file for each photograph; None if there is none.
        detect: Whether to ignore the dataset's landmarks and detect them.

    Raises:
        DataError: If the dataset cannot be read, or is unknown.
        PreparationError: If there is nothing to prepare, or the options contradict each other.
        ValueError: If there is no such dataset.
    """
    if neutral == "dataset" and dataset is None:
        raise PreparationError("--neutral dataset needs --dataset")
    if dataset is None:
        contents = scan(root, without=out)
        plan = Plan([Item(image) for image in contents.images], contents.problems, contents.ignored)
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
    """Return the item of a dataset's record, without landmarks."""
    return Item(
        record.image,
        frame=_video_frame(record.image, record.frame),
        box=record.box,
        neutral=record.neutral,
        neutral_frame=_video_frame(record.neutral, record.neutral_frame),
    )


def _video_frame(image: str | None, frame: int | None) -> int | None:
    """Return ``frame`` if ``image`` is a video, else None."""
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
        neutral_points = None if item.neutral is None else points.get(named(item.neutral, item.neutral_frame))
        item = replace(item, points=points.get(item.name), neutral_points=neutral_points)
        if items.setdefault(item.name, item).box != item.box:
            raise DataError(f"{item.name} shows more than one labelled face, which cannot be prepared apart")
    for item in list(items.values()):
        if item.neutral is not None:
            neutral = Item(item.neutral, item.neutral_frame, item.neutral_points)
            items.setdefault(neutral.name, neutral)
    problems = {finding.path: finding.text for finding in reading.findings if finding.level == "error"}
    return Plan([items[name] for name in sorted(items)], problems)
