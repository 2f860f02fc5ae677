"""A contact sheet of synthetic faces: one row for each person, the neutral face first."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from reference_models.checks import positive_int
from reference_models.data.synthetic.shots import Shot
from reference_models.faces.images import RGBImage

_GAP, _PAPER = 4, 255


def contact_sheet(shots: Sequence[Shot], *, rows: int = 6, columns: int = 8, size: int = 112) -> RGBImage:
    """Return a sheet with the first shots of the first persons.

    Args:
        shots: Shots from :func:`~reference_models.data.synthetic.plan`.
        rows: Largest number of persons.
        columns: Largest number of pictures of each person.
        size: Side of each picture in pixels.

    Returns:
        Pixels (H, W, 3), uint8.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If a number is below 1, or ``shots`` is empty.
    """
    for name, value in (("rows", rows), ("columns", columns), ("size", size)):
        positive_int(name, value)
    if not shots:
        raise ValueError("shots must not be empty")
    persons: dict[str, list[Shot]] = {}
    for shot in shots:
        persons.setdefault(shot.subject, []).append(shot)
    shown = [some[:columns] for some in list(persons.values())[:rows]]
    width = max(map(len, shown))
    step = size + _GAP
    sheet = np.full((len(shown) * step + _GAP, width * step + _GAP, 3), _PAPER, dtype=np.uint8)
    for row, some in enumerate(shown):
        for column, shot in enumerate(some):
            top, left = _GAP + row * step, _GAP + column * step
            sheet[top : top + size, left : left + size] = shot.take(size).image
    return sheet


def sheet_file(sheet: RGBImage) -> bytes:
    """Return the sheet as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    return file.getvalue()
