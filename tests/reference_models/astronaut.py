"""The astronaut, and the same photograph turned and scaled by OpenCV alone, so that the truth is known."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from skimage import data

from reference_models.faces.landmarks import Face, choose, detect

ANGLES = (-30.0, -15.0, 0.0, 15.0, 30.0)
SCALES = (0.5, 0.75, 1.0, 1.5, 2.0)


@cache
def photograph() -> np.ndarray:
    pixels = data.astronaut()
    pixels.flags.writeable = False
    return pixels


@cache
def face() -> Face:
    return choose(detect(photograph()))


@cache
def turned(angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the photograph turned about the face by ``angle`` degrees and scaled, and the matrix that did it."""
    size = 512 if scale <= 1 else 1024
    nose = face().points[30]
    matrix = cv2.getRotationMatrix2D((float(nose[0]), float(nose[1])), angle, scale)
    matrix[:, 2] += size / 2 - nose
    flags = cv2.INTER_LINEAR
    return cv2.warpAffine(np.array(photograph()), matrix, (size, size), flags=flags), matrix


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cv2.transform(points[None], matrix)[0]
