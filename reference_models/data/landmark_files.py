"""Landmarks out of the files that datasets come with: text, and MATLAB's format, of which one matrix is read."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from reference_models.data.tree import DataError
from reference_models.extras import load
from reference_models.faces.geometry import Points

MAX_BYTES = 65_536
COUNTS = (5, 49, 66, 68)
_VARIABLE = "pts"
# What scipy lets through for damaged files, besides its own exception.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def read_landmarks(path: Path) -> Points:
    """Read the landmarks of one face.

    A ``.mat`` file is read by scipy, which makes arrays and runs nothing; only the variable ``pts`` is decoded, of a
    file of at most 64 KiB (zlib makes at most a thousand times as much of it).

    Args:
        path: A ``.mat`` file with a matrix ``pts`` (N, 2), or a text file with a line "x y" for each point.

    Returns:
        Points (N, 2), float64, N one of 5, 49, 66, 68, in pixels of the photograph.

    Raises:
        DataError: If the file is missing, too large, damaged, or holds anything else.
        MissingExtraError: If it is a ``.mat`` file and scipy is not installed.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} that landmarks may have")
        points = _from_mat(path) if path.suffix.lower() == ".mat" else _from_text(path)
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} holds no landmarks: {str(error).splitlines()[0] if str(error) else error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in COUNTS or not np.isfinite(points).all():
        raise DataError(f"{path} must hold 5, 49, 66 or 68 finite points, got shape {points.shape}")
    return points


def _from_mat(path: Path) -> Points:
    scipy_io: Any = load("scipy.io", package="scipy", extra="faces")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy's remarks on odd files
            content = scipy_io.loadmat(path, variable_names=[_VARIABLE])
    except scipy_io.matlab.MatReadError as error:
        raise DataError(f"{path} is no MATLAB file: {error}") from error
    if _VARIABLE not in content:
        raise DataError(f"{path} has no variable {_VARIABLE!r}")
    points = content[_VARIABLE]
    if not isinstance(points, np.ndarray) or points.dtype.kind not in "fiu":
        raise DataError(f"{path}: {_VARIABLE} must be a matrix of numbers, got {getattr(points, 'dtype', points)}")
    return points.astype(np.float64)


def _from_text(path: Path) -> Points:
    rows = [line.replace(",", " ").split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise DataError(f"{path} must have two numbers in each line")
    return np.array([[float(number) for number in row] for row in rows], dtype=np.float64)
