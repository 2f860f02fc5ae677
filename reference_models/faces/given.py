"""Known landmarks, read from a file and used instead of a detector; dlib is not needed.

The format of a file is recognised by its content:

- text with one ``x y`` pair per line, separated by blanks or a comma, such as CK+'s 68 points in scientific notation;
- iBUG's ``.pts``, which has the same lines between braces;
- MATLAB's ``.mat`` (version 5) with a matrix ``pts`` (N, 2), such as DISFA's 66 points.

Coordinates are not changed; the centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference_models.faces.face import Face
from reference_models.faces.geometry import Points, as_points
from reference_models.faces.images import as_rgb
from reference_models.faces.mat_files import MAX_BYTES, is_matlab, parse_matrix
from reference_models.faces.point_sets import COUNTS

SUFFIXES = (".txt", ".pts", ".csv", ".mat")
"""Suffixes of landmark files."""

_VARIABLE = "pts"
_BRACES = re.compile(r"\{(.*)\}", re.DOTALL)


class LandmarkError(ValueError):
    """Landmarks cannot be read or do not belong to the photograph; the message is one sentence that names the file."""


def read_points(path: str | Path) -> Points:
    """Read the landmarks of one face.

    Args:
        path: A file in one of the formats in the module docstring, at most 64 KiB.

    Returns:
        Points (N, 2), float64, N one of 5, 49, 66 and 68.

    Raises:
        LandmarkError: If the file cannot be read, has another format, or holds another number of points.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LandmarkError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise LandmarkError(f"{path} has more than the {MAX_BYTES:,} bytes that landmarks may have")
    return parse_points(data, name=str(path))


def parse_points(data: bytes, *, name: str) -> Points:
    """Return the landmarks from the content of a file; ``name`` is used in messages. See :func:`read_points`.

    Raises:
        LandmarkError: If the content has another format, or holds another number of points.
    """
    try:
        points = parse_matrix(data, _VARIABLE) if is_matlab(data) else _pairs(data.decode("ascii"))
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{name} holds no landmarks: it is neither text nor a MATLAB 5 file") from error
    except ValueError as error:
        raise LandmarkError(f"{name} holds no landmarks: {error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in COUNTS or not np.isfinite(points).all():
        raise LandmarkError(f"{name} must hold 5, 49, 66 or 68 finite points, got shape {points.shape}")
    return points


@dataclass(frozen=True, eq=False)
class GivenDetector:
    """A detector that returns one face with known landmarks.

    Attributes:
        points: Landmarks (N, 2) in pixels of the photograph, N one of 5, 49, 66 and 68.
        name: Name of the landmarks in messages.
    """

    points: ArrayLike
    name: str = "the landmarks"

    def detect(self, image: NDArray[Any]) -> list[Face]:
        """Return the face, with the bounding box of the points.

        Raises:
            LandmarkError: If the centre of the box is outside the image.
            TypeError: If ``image`` is not an array of pixels.
            ValueError: If the number of points is not 5, 49, 66 or 68, or they are not finite.
        """
        rows, columns = as_rgb(image).shape[:2]
        points = as_points("points", self.points, COUNTS)
        (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
        if not (0 <= (left + right) / 2 < columns and 0 <= (top + bottom) / 2 < rows):
            raise LandmarkError(
                f"{self.name} does not belong to a photograph of {columns} x {rows} pixels: its middle is outside"
            )
        return [Face((left, top, right, bottom), points)]


def _pairs(text: str) -> NDArray[np.float64]:
    braces = _BRACES.search(text)
    lines = (braces[1] if braces else text).replace(",", " ").splitlines()
    pairs = [line.split() for line in lines if line.strip()]
    odd = next((line for line in pairs if len(line) != 2), None)
    if odd is not None:
        raise ValueError(f"a line must hold x and y, got {' '.join(odd)[:60]!r}")
    return np.array([[float(x), float(y)] for x, y in pairs], dtype=np.float64).reshape(-1, 2)
