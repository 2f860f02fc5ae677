"""What is to be prepared: the photographs under a folder, each with its landmarks and its neutral frame if it has them.

Names are relative to the folder, with ``/``. Nothing here opens a photograph.
"""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from reference_models.faces.given import SUFFIXES as POINT_SUFFIXES

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_POINT_ENDINGS = (*POINT_SUFFIXES, "_landmarks.txt")  # the last is CK+'s


class PreparationError(ValueError):
    """A preparation cannot be done as asked; the message is one sentence."""


@dataclass(frozen=True)
class Item:
    """One photograph, or one frame of a video.

    Attributes:
        image: Its path relative to the root.
        frame: Its number, counted from 1, if ``image`` is a video.
        points: Path of the file with its landmarks, None to detect them.
        box: Left, top, right, bottom in whole pixels, if it is cropped first.
        neutral: Path of the photograph of the same face at rest, None if there is none.
        neutral_frame: Number of that frame, if ``neutral`` is a video.
        neutral_points: Path of the file with that one's landmarks.
    """

    image: str
    frame: int | None = None
    points: Path | None = None
    box: tuple[int, int, int, int] | None = None
    neutral: str | None = None
    neutral_frame: int | None = None
    neutral_points: Path | None = None

    @property
    def name(self) -> str:
        """Its name in the manifest and among the results: the path, and for a frame of a video its number behind it."""
        return named(self.image, self.frame)


def named(image: str, frame: int | None) -> str:
    """Return the name that a photograph, or a frame of a video, has among the results."""
    return image if frame is None else f"{image}/{frame:06d}"


@dataclass
class Scan:
    """What is under a folder.

    Attributes:
        images: Paths of the photographs, sorted.
        problems: What could not be looked at, and why.
        ignored: Number of files that are no photographs by their name, hidden ones included.
    """

    images: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    ignored: int = 0


def scan(root: Path, *, without: Path | None = None) -> Scan:
    """Find the photographs under a folder, by the endings of their names.

    Links are followed; one that leads back to a folder above it is reported, and so is one that leads nowhere. Hidden
    files and folders are left out.

    Args:
        root: The folder.
        without: A folder that is left out, such as that of the results.

    Raises:
        PreparationError: If ``root`` is no folder.
    """
    if not root.is_dir():
        raise PreparationError(f"{root} is no folder" if root.exists() else f"the folder {root} does not exist")
    found = Scan()
    left_out = _identity(without) if without is not None and without.exists() else None
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while stack:
        folder, above = stack.pop()
        try:
            here = _identity(root / folder)
            names = [path.name for path in (root / folder).iterdir()]
        except OSError as error:
            found.problems[folder or "."] = _said(error)
            continue
        if here in above:
            found.problems[folder] = "is a link that leads back to a folder above it"
        elif here != left_out:
            for name in names:
                path = f"{folder}/{name}" if folder else name
                if _sort(found, root, path):
                    stack.append((path, above | {here}))
    found.images.sort()
    return found


def _sort(found: Scan, root: Path, path: str) -> bool:
    """Note what a path is; return whether it is a folder to look into."""
    if PurePosixPath(path).name.startswith("."):
        found.ignored += 1
    elif os.path.isdir(root / path):  # noqa: PTH112 - unlike Path.is_dir it is defined for loops of links
        return True
    elif PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
        found.images.append(path)
    elif (problem := _broken_link(root / path)) is not None:
        found.problems[path] = problem
    else:
        found.ignored += 1
    return False


def with_points(items: Iterable[Item], folder: Path) -> list[Item]:
    """Return the items with the landmark files that have their names in another folder.

    Of ``a/b.png`` that is ``a/b.txt``, ``.pts``, ``.csv``, ``.mat`` or ``a/b_landmarks.txt``, whichever is there first.
    """

    def points(image: str | None) -> Path | None:
        if image is None:
            return None
        stem = folder / PurePosixPath(image).with_suffix("")
        candidates = [stem.with_name(stem.name + ending) for ending in _POINT_ENDINGS]
        return next((path for path in candidates if path.is_file()), candidates[0])

    return [replace(item, points=points(item.image), neutral_points=points(item.neutral)) for item in items]


def with_first_as_neutral(items: Sequence[Item]) -> list[Item]:
    """Return the items with the first photograph of each folder as the neutral frame of all in it, itself included."""
    first: dict[str, str] = {}
    for item in sorted(items, key=lambda item: item.image):
        first.setdefault(str(PurePosixPath(item.image).parent), item.image)
    return [replace(item, neutral=first[str(PurePosixPath(item.image).parent)]) for item in items]


def with_listed_neutrals(items: Sequence[Item], path: Path) -> list[Item]:
    """Return the items with the neutral frames that a list names; those it does not name have none.

    Args:
        items: The photographs.
        path: A CSV file with the columns ``image`` and ``neutral``, relative to the root.

    Raises:
        PreparationError: If the list cannot be read, or names a photograph that is not there.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"image", "neutral"} <= set(reader.fieldnames or ()):
                raise PreparationError(f"{path} must have the columns image and neutral, got {reader.fieldnames}")
            listed = {row["image"]: row["neutral"] for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PreparationError(f"{path} cannot be read: {error}") from error
    known = {item.image for item in items}
    for name in (*listed, *listed.values()):
        if name not in known:
            raise PreparationError(f"{path} names {name!r}, which is no photograph under the root")
    return [replace(item, neutral=listed.get(item.image)) for item in items]


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _broken_link(path: Path) -> str | None:
    try:
        path.stat()
    except OSError as error:
        return _said(error)
    return None


def _said(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a loop of links"
    if error.errno == errno.ENOENT:
        return "is a link that leads nowhere"
    return f"cannot be read: {error.strerror}"
