"""The astronaut with another expression: the photograph is warped around named landmarks, which move along."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from tests.reference_models import astronaut

# Landmark and its shift in pixels: corners of the mouth up and outward, inner ends of the brows down and inward.
SMILE_AND_FROWN = ((48, (-6.0, -5.0)), (54, (6.0, -5.0)), (21, (2.0, 4.0)), (22, (-2.0, 4.0)))
REACH = 8.0


@cache
def moved_face() -> tuple[np.ndarray, np.ndarray]:
    """Return the warped photograph, and the landmarks carried along by the same warp."""
    photograph, points = astronaut.photograph(), astronaut.face().points.copy()
    rest = points.copy()
    y, x = np.indices(photograph.shape[:2], dtype=np.float32)
    from_x, from_y = x.copy(), y.copy()
    for number, (right, down) in SMILE_AND_FROWN:
        middle = rest[number]
        weight = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * REACH**2)).astype(np.float32)
        from_x -= weight * np.float32(right)
        from_y -= weight * np.float32(down)
        near = np.exp(-((rest - middle) ** 2).sum(1) / (2 * REACH**2))
        points += near[:, None] * [right, down]
    return cv2.remap(np.array(photograph), from_x, from_y, cv2.INTER_LINEAR), points
