"""The list of photographs to prepare, each with its landmark file and its neutral frame if it has them.

Names are relative to the root folder, with ``/``. This module opens no photograph.
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
    """A preparation cannot be done with the given options or files; the message is one sentence."""


@dataclass(frozen=True)
class Item:
    """One photograph, or one frame of a video.

    Attributes:
        image: Its path relative to the root.
        frame: Its number, counted from 1, if ``image`` is a video.
        points: Path of its landmark file; None to detect the landmarks.
        box: Left, top, right, bottom in whole pixels, to which the photograph is cropped first; None for no crop.
        neutral: Path of the photograph of the same person's neutral face, relative to the root; None if there is none.
        neutral_frame: Number of the neutral frame, if ``neutral`` is a video.
        neutral_points: Path of the neutral photograph's landmark file; None to detect the landmarks.
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
        """Name in the manifest and of the result files: the path, followed by the number for a frame of a video."""
        return named(self.image, self.frame)


def named(image: str, frame: int | None) -> str:
    """Return the name of the results of a photograph, or of a frame of a video."""
    return image if frame is None else f"{image}/{frame:06d}"


@dataclass
class Scan:
    """The contents of a folder.

    Attributes:
        images: Paths of the photographs, sorted.
        problems: Paths that could not be read, each with the reason.
        ignored: Number of files without a photograph's suffix, including hidden files.
    """

    images: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    ignored: int = 0


def scan(root: Path, *, without: Path | None = None) -> Scan:
    """Find the photographs under a folder, by the suffixes of their names.

    Links are followed; a link to a folder above it, and a broken link, are reported as problems. Hidden files and
    folders are left out.

    Args:
        root: The folder.
        without: A folder to leave out, such as that of the results.

    Raises:
        PreparationError: If ``root`` is not a folder.
    """
    if not root.is_dir():
        raise PreparationError(f"{root} is no folder" if root.exists() else f"the folder {root} does not exist")
    contents = Scan()
    left_out = _identity(without) if without is not None and without.exists() else None
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while stack:
        folder, above = stack.pop()
        try:
            current = _identity(root / folder)
            names = [path.name for path in (root / folder).iterdir()]
        except OSError as error:
            contents.problems[folder or "."] = _link_problem(error)
            continue
        if current in above:
            contents.problems[folder] = "is a link that leads back to a folder above it"
        elif current != left_out:
            for name in names:
                path = f"{folder}/{name}" if folder else name
                if _classify(contents, root, path):
                    stack.append((path, above | {current}))
    contents.images.sort()
    return contents


def _classify(contents: Scan, root: Path, path: str) -> bool:
    """Add a path to ``contents`` by its kind; return True if it is a folder, which is not added."""
    if PurePosixPath(path).name.startswith("."):
        contents.ignored += 1
    elif os.path.isdir(root / path):  # noqa: PTH112 - unlike Path.is_dir it is defined for loops of links
        return True
    elif PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
        contents.images.append(path)
    elif (problem := _broken_link(root / path)) is not None:
        contents.problems[path] = problem
    else:
        contents.ignored += 1
    return False


def with_points(items: Iterable[Item], folder: Path) -> list[Item]:
    """Return the items with the landmark files of the same names in another folder.

    For ``a/b.png`` that is the first existing file of ``a/b.txt``, ``.pts``, ``.csv``, ``.mat`` and
    ``a/b_landmarks.txt``.
    """

    def points(image: str | None) -> Path | None:
        if image is None:
            return None
        stem = folder / PurePosixPath(image).with_suffix("")
        candidates = [stem.with_name(stem.name + ending) for ending in _POINT_ENDINGS]
        return next((path for path in candidates if path.is_file()), candidates[0])

    return [replace(item, points=points(item.image), neutral_points=points(item.neutral)) for item in items]


def with_first_as_neutral(items: Sequence[Item]) -> list[Item]:
    """Return the items with the first photograph of each folder as the neutral frame of all photographs in it."""
    first: dict[str, str] = {}
    for item in sorted(items, key=lambda item: item.image):
        first.setdefault(str(PurePosixPath(item.image).parent), item.image)
    return [replace(item, neutral=first[str(PurePosixPath(item.image).parent)]) for item in items]


def with_listed_neutrals(items: Sequence[Item], path: Path) -> list[Item]:
    """Return the items with the neutral frames that a list names; unlisted items have none.

    Args:
        items: The photographs.
        path: A CSV file with the columns ``image`` and ``neutral``, both paths relative to the root.

    Raises:
        PreparationError: If the list cannot be read, or names a photograph that is not among the items.
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
        return _link_problem(error)
    return None


def _link_problem(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a loop of links"
    if error.errno == errno.ENOENT:
        return "is a link that leads nowhere"
    return f"cannot be read: {error.strerror}"
