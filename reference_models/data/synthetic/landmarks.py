"""dlib's 68 landmarks on the head model: points of its triangles, see ``benchmarks.synthetic.asset.make_landmarks``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.looks import MEAN_BROW_ARCH, Hair

FILE = Path(__file__).with_name("landmarks.json")
_BROWS = slice(17, 27)
_ARCH_SHARE = np.array([0.3, 0.6, 0.55, 0.25, -0.2])  # how much of the arch each point of a brow rises


@cache
def anchors() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the three vertices of each landmark (68, 3) and their weights (68, 3)."""
    content = json.loads(FILE.read_text(encoding="ascii"))
    weights = np.array(content["weights"], dtype=np.float64)  # rounded
    return np.array(content["vertices"]), weights / weights.sum(1, keepdims=True)


def landmark_points(points: NDArray[np.float64], hair: Hair, scale: float) -> NDArray[np.float64]:
    """Return the landmarks (68, 2) of a head whose vertices lie at ``points`` (V, 2 or 3) on the screen.

    Brows are painted, higher or lower from person to person: their landmarks are where the paint is.

    Args:
        points: Columns and rows of the vertices.
        hair: Where the brows are.
        scale: Pixels a decimetre.
    """
    vertices, weights = anchors()
    found = np.zeros((len(vertices), 2))
    for corner in range(3):
        found += points[vertices[:, corner], :2] * weights[:, corner, None]
    rise = hair.brow_height + (hair.brow_arch - MEAN_BROW_ARCH) * np.concatenate([_ARCH_SHARE, _ARCH_SHARE[::-1]])
    found[_BROWS, 1] -= rise * scale
    return found
