"""dlib's 68 landmarks as points on the head's triangles; ``benchmarks.synthetic.asset.make_landmarks`` finds them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.looks import MEAN_BROW_ARCH, Hair

FILE = Path(__file__).with_name("landmarks.json")
_BROWS = slice(17, 27)
_ARCH_SHARE = np.array([0.3, 0.6, 0.55, 0.25, -0.2])  # fraction of the arch's height at each point of a brow


@cache
def anchors() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the three vertices of each landmark (68, 3) and their weights (68, 3)."""
    content = json.loads(FILE.read_text(encoding="ascii"))
    weights = np.array(content["weights"], dtype=np.float64)  # rounded
    return np.array(content["vertices"]), weights / weights.sum(1, keepdims=True)


def landmark_points(points: NDArray[np.float64], hair: Hair, scale: float) -> NDArray[np.float64]:
    """Return the landmarks (68, 2) of a head from the vertices on the screen.

    Brows are painted at a height that differs between persons: their landmarks follow the paint.

    Args:
        points: Columns and rows of the vertices on the screen (V, 2 or 3).
        hair: Height and arch of the brows.
        scale: Pixels per decimetre.
    """
    vertices, weights = anchors()
    landmarks = np.zeros((len(vertices), 2))
    for corner in range(3):
        landmarks += points[vertices[:, corner], :2] * weights[:, corner, None]
    rise = hair.brow_height + (hair.brow_arch - MEAN_BROW_ARCH) * np.concatenate([_ARCH_SHARE, _ARCH_SHARE[::-1]])
    landmarks[_BROWS, 1] -= rise * scale
    return landmarks
