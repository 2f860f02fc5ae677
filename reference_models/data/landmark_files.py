"""Landmarks out of the files that datasets come with: MATLAB's format and text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reference_models.data.mat_files import MAX_BYTES, read_matrix
from reference_models.data.tree import DataError
from reference_models.faces.geometry import Points

COUNTS = (5, 49, 66, 68)
VARIABLE = "pts"


def read_landmarks(path: Path) -> Points:
    """Read the landmarks of one face.

    Args:
        path: A ``.mat`` file with a matrix ``pts`` (N, 2), or a text file with a line "x y" for each point; at most
            64 KiB.

    Returns:
        Points (N, 2), float64, N one of 5, 49, 66, 68, in pixels of the photograph.

    Raises:
        DataError: If the file is missing, too large, damaged, or holds anything else.
    """
    try:
        points = read_matrix(path, VARIABLE) if path.suffix.lower() == ".mat" else _from_text(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in COUNTS or not np.isfinite(points).all():
        raise DataError(f"{path} must hold 5, 49, 66 or 68 finite points, got shape {points.shape}")
    return points


def _from_text(path: Path) -> Points:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} is larger than the {MAX_BYTES:,} bytes that are read")
    try:
        rows = [line.replace(",", " ").split() for line in content.decode("ascii").splitlines() if line.strip()]
        return np.array([[float(x), float(y)] for x, y in rows], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path} must have two numbers in each line: {error}") from error
