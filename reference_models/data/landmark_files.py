"""Reads the landmark files of datasets; see :mod:`reference_models.faces.given` for their formats."""

from __future__ import annotations

from pathlib import Path

from reference_models.data.tree import DataError
from reference_models.faces.geometry import Points
from reference_models.faces.given import LandmarkError, read_points


def read_landmarks(path: Path) -> Points:
    """Read the landmarks of one face.

    Args:
        path: A ``.mat`` file with a matrix ``pts`` (N, 2), or a text file with a line "x y" for each point; at most
            64 KiB.

    Returns:
        Points (N, 2), float64, (x, y) in pixels of the photograph; N is 5, 49, 66 or 68.

    Raises:
        DataError: If the file is missing, too large, damaged, or holds anything else.
    """
    try:
        return read_points(path)
    except LandmarkError as error:
        raise DataError(str(error)) from error
