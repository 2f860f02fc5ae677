"""Folders of photographs for the preparation, and what is in the folders that it writes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.reference_models import astronaut, expressions


@cache
def small(number: int) -> np.ndarray:
    """Return the astronaut's face in 160 pixels, turned and lit by ``number``."""
    photograph = astronaut.photograph() if number % 2 == 0 else expressions.moved_face()[0]
    middle = astronaut.face().points[30]
    matrix = cv2.getRotationMatrix2D(tuple(map(float, middle)), (number * 7) % 21 - 10, 1.1)
    matrix[:, 2] += 80 - middle
    turned = cv2.warpAffine(np.array(photograph), matrix, (160, 160), borderMode=cv2.BORDER_REFLECT)
    return (turned * (0.8 + 0.02 * (number % 10))).astype(np.uint8)


def fill(root: Path, count: int, *, start: int = 0) -> list[str]:
    """Write ``count`` photographs, two in each folder, and return their paths."""
    names = []
    for number in range(start, start + count):
        path = root / f"subject {number // 2:03d}" / f"frame ü {number % 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small(number)).save(path, compress_level=1)
        names.append(path.relative_to(root).as_posix())
    return names


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
