"""CEDNN's face mask: the polygon of jaw and brows inside which differences count, and its pixels.

J. Chen, C. Wang, K. Wang, M. Liu, "Computational efficient deep neural network with difference attention maps for
facial action unit detection", 2020, section 3.2 (2) and Fig. 3: the jaw's landmarks move inward by 5 pixels, the brows'
up by 5 pixels, and between the brows one point is added, "based on the lower inner point of the eyebrows plus the
distance from the upper point of the nose", so that the furrow of AU 4 is inside.

Differences from the paper: none known. Points that it does not specify were chosen as follows. Inward is towards the
mean of the landmarks of jaw and brows. The added point is midway between the brows' inner ends, and as far above the
lower of the two as the nose root is below it. A pixel is inside if its centre is inside or on the polygon. The paper
mentions sixty-four landmarks; dlib has 68.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnzoo.checks import finite, flag, positive_int
from reference_models.extras import load
from reference_models.faces.geometry import Points, as_points
from reference_models.faces.point_sets import (
    CHIP_TEMPLATE,
    JAW,
    LEFT_BROW,
    LEFT_EYE_CORNER,
    NOSE_ROOT,
    RIGHT_BROW,
    RIGHT_EYE_CORNER,
)

MARGIN = 5.0
"""The paper's margin in pixels."""
BETWEEN_BROWS = 22
"""Index of the added point among the polygon's corners."""
# Distance between the outer eye corners in dlib's chip of 224 pixels with its usual padding: a face of this width has a
# margin of 5 pixels.
_REFERENCE_WIDTH = float(np.linalg.norm(CHIP_TEMPLATE[0] - CHIP_TEMPLATE[2])) / 1.5 * 224


def face_polygon(points: ArrayLike, *, margin: float = MARGIN, relative: bool = False) -> Points:
    """Return the polygon around the face inside jaw and brows.

    Args:
        points: 66 or 68 landmarks of an upright face, in pixels.
        margin: Pixels by which the jaw moves inward and the brows move up; at least 0.
        relative: Whether ``margin`` applies to a face of the size in dlib's chip of 224 pixels and is scaled with the
            distance between the outer corners of the eyes.

    Returns:
        Corners (28, 2) in order: the jaw from the subject's right to left, the left brow, the point between the brows,
        the right brow.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there are not 66 or 68 finite points, or ``margin`` is negative.
    """
    points = as_points("points", points, (66, 68))
    if finite("margin", margin) < 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    if flag("relative", relative):
        margin *= float(np.linalg.norm(points[LEFT_EYE_CORNER] - points[RIGHT_EYE_CORNER])) / _REFERENCE_WIDTH
    jaw, right, left = points[JAW], points[RIGHT_BROW], points[LEFT_BROW]
    inward = np.concatenate([jaw, right, left]).mean(0) - jaw
    distance = np.linalg.norm(inward, axis=1, keepdims=True)
    inward = inward * np.minimum(1, margin / np.maximum(distance, np.finfo(np.float64).tiny))
    up = np.array([0.0, -margin])
    return np.concatenate(
        [jaw + inward, left[::-1] + up, _between(right[-1], left[0], points[NOSE_ROOT]), right[::-1] + up]
    )


def face_mask(polygon: ArrayLike, *, size: int) -> NDArray[np.uint8]:
    """Return the mask of the pixels whose centres are inside a polygon or on it.

    Args:
        polygon: Corners (N, 2) in order, N at least 3, in pixels.
        size: Side of the frame in pixels.

    Returns:
        Mask (size, size), uint8, 1 inside and 0 outside.

    Raises:
        MissingExtraError: If scikit-image is not installed.
        TypeError: If ``size`` is not an int.
        ValueError: If the corners are not finite or fewer than three.
    """
    positive_int("size", size)
    corners = as_points("polygon", polygon)
    if len(corners) < 3:
        raise ValueError(f"polygon must have at least 3 corners, got {len(corners)}")
    draw = load("skimage.draw", package="scikit-image", extra="faces")
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[draw.polygon(corners[:, 1], corners[:, 0], shape=mask.shape)] = 1
    return mask


def _between(right: Points, left: Points, nose_root: Points) -> Points:
    """Return the added point (1, 2), midway between the brows' inner ends and above the lower one."""
    lower = max(right[1], left[1])
    return np.array([[(right[0] + left[0]) / 2, lower - max(0.0, nose_root[1] - lower)]])
