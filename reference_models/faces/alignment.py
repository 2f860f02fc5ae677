"""Aligns faces as the papers' networks expect.

Each function returns the aligned picture ("frame"), the transform from the photograph to it, and the landmarks in it.
Coordinates are those of :mod:`reference_models.faces.geometry`: the centre of the top left pixel is (0, 0), so the
middle of a frame of 224 pixels is at 111.5 and its bottom edge at 223.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnzoo.checks import finite, positive_int
from reference_models.faces import geometry
from reference_models.faces.face import Box
from reference_models.faces.geometry import Points, Transform, as_points
from reference_models.faces.images import RGBImage
from reference_models.faces.point_sets import CHIN, CHIP_TEMPLATE, COUNTS, NOSE_ROOT, NOSE_TIP, point, select

# In units of dlib's chip template, means over 900 synthetic faces of both styles: centre and longer side of the box
# around all 68 landmarks, the point midway between nose root and tip, and the chin.
_FACE_MIDDLE, _FACE_SIDE = np.array([0.49, 0.60]), 1.19
_NOSE_MIDDLE, _CHIN = (0.49, 0.40), (0.49, 1.19)


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """An aligned face.

    Attributes:
        image: Pixels of the frame (size, size, 3), uint8.
        transform: Affine matrix (2, 3), float64, from the photograph to the frame.
        points: The landmarks (N, 2) in the frame, in the order of the input.
    """

    image: RGBImage
    transform: Transform
    points: Points

    @property
    def center_row(self) -> float:
        """Row of the face's centre in pixels from the frame's top edge, for :class:`attnzoo.RegionMask`.

        The centre is midway between nose root and nose tip.

        Raises:
            ValueError: If the landmarks do not include these two points.
        """
        return float(_nose_middle(self.points)[1]) + 0.5

    def to_frame(self, points: ArrayLike) -> Points:
        """Return points (N, 2) of the photograph in coordinates of the frame."""
        return geometry.move(self.transform, points)

    def to_photo(self, points: ArrayLike) -> Points:
        """Return points (N, 2) of the frame in coordinates of the photograph."""
        return geometry.move(geometry.inverse(self.transform), points)


def align_tra_net(image: NDArray[Any], points: ArrayLike, *, size: int = 224) -> AlignedFace:
    """Align a face as TRA-Net does.

    Y. Xia, "Upper, Middle and Lower Region Learning for Facial Action Unit Detection", 2020: a similarity moves the
    point midway between nose tip and nose root to the frame's centre, and the middle of the lower jaw (landmark 8,
    counted from 0) to the middle of its bottom edge. Two points determine it exactly.

    Args:
        image: Pixels (H, W), (H, W, 3) or (H, W, 4).
        points: 66 or 68 landmarks in pixels of ``image``.
        size: Side of the frame in pixels.

    Raises:
        TypeError: If ``image`` is not an array of pixels or ``size`` not an int.
        ValueError: If there are not 66 or 68 finite points, or nose and chin are the same point.
    """
    positive_int("size", size)
    points = as_points("points", points, (66, 68))
    middle = (size - 1) / 2
    source = np.stack([_nose_middle(points), point(points, CHIN)])
    if np.array_equal(source[0], source[1]):
        raise ValueError(f"points must have the nose and the chin at different places, got both at {source[0]}")
    return _moved(image, geometry.similarity(source, [[middle, middle], [middle, size - 0.5]]), points, size)


def align_chip(image: NDArray[Any], points: ArrayLike, *, size: int = 224, padding: float = 0.25) -> AlignedFace:
    """Align a face by dlib's five points, as ``dlib.get_face_chip`` and CEDNN do.

    The similarity is the least squares fit of the five points to dlib's template. When dlib enlarges a face, it aligns
    the centres of the corner pixels, so that its chip shows up to half a pixel less of the photograph at each edge.

    Args:
        image: Pixels (H, W), (H, W, 3) or (H, W, 4).
        points: 5, 49, 66 or 68 landmarks in pixels of ``image``; dlib's five are selected from larger sets.
        size: Side of the frame in pixels.
        padding: Margin on each side, as a fraction of the chip without it; at least 0.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the number of points is not one of these or they are not finite, or ``padding`` is negative.
    """
    positive_int("size", size)
    points = as_points("points", points, COUNTS)
    if finite("padding", padding) < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    target = (CHIP_TEMPLATE + padding) / (1 + 2 * padding) * size - 0.5  # the template's fractions start at the edge
    return _moved(image, geometry.similarity(select(points, 5), target), points, size)


def crop(image: NDArray[Any], box: Box, points: ArrayLike, *, size: int = 112, margin: float = 0.2) -> AlignedFace:
    """Crop the square around a face's box, without rotation.

    Args:
        image: Pixels (H, W), (H, W, 3) or (H, W, 4).
        box: Left, top, right, bottom in pixels of ``image``; the square has the same centre and the longer side.
        points: Landmarks (N, 2), transformed with the picture.
        size: Side of the frame in pixels.
        margin: Margin added on each side, as a fraction of the box's longer side; above -0.5.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the box is empty or not finite, or ``margin`` is not above -0.5.
    """
    positive_int("size", size)
    points = as_points("points", points)
    left, top, right, bottom = (finite("box", float(edge)) for edge in box)
    if not (left < right and top < bottom):
        raise ValueError(f"box must be left, top, right, bottom with left < right and top < bottom, got {box}")
    if finite("margin", margin) <= -0.5:
        raise ValueError(f"margin must be above -0.5, got {margin}")
    scale = size / (max(right - left, bottom - top) * (1 + 2 * margin))
    middle = (size - 1) / 2
    shift_x, shift_y = middle - scale * (left + right) / 2, middle - scale * (top + bottom) / 2
    return _moved(image, np.array([[scale, 0.0, shift_x], [0.0, scale, shift_y]]), points, size)


def square_around(points: ArrayLike) -> Box:
    """Return the square around a face, computed from dlib's five points, which all sets of landmarks contain.

    A similarity maps dlib's template to the five points; the square has the centre and the longer side of the box
    around the 68 landmarks of an average face in that template. So it does not depend on the detector, the number of
    landmarks, or an open mouth.

    Args:
        points: 5, 49, 66 or 68 landmarks in pixels.

    Returns:
        Left, top, right, bottom in pixels.

    Raises:
        ValueError: If the number of points is not one of these, or they are not finite or all the same.
    """
    five = select(points, 5)
    to_photo = geometry.similarity(CHIP_TEMPLATE, five)
    x, y = geometry.move(to_photo, [_FACE_MIDDLE])[0].tolist()
    half = _FACE_SIDE / 2 * float(np.hypot(to_photo[0, 0], to_photo[1, 0]))
    if half == 0:
        raise ValueError("points must hold at least two different points")
    return x - half, y - half, x + half, y + half


def aligned_already(
    image: NDArray[Any], align: str, *, size: int, margin: float = 0.0, name: str = "the picture"
) -> AlignedFace:
    """Return an aligned face from a picture that is aligned already, resized to ``size``.

    Its landmarks are dlib's five at fixed positions: those of the template for ``chip``, those of an average upright
    face for ``tra-net`` and ``crop``.

    Args:
        image: Pixels (S, S), (S, S, 3) or (S, S, 4), aligned with the same margin.
        align: ``tra-net``, ``chip`` or ``crop``.
        size: Side of the frame in pixels.
        margin: Margin of ``chip`` or ``crop``.
        name: Name of the picture in messages.

    Raises:
        TypeError: If ``image`` is not an array of pixels or ``size`` not an int.
        ValueError: If the picture is not square, or ``align`` is not one of the three.
    """
    rows, columns = image.shape[:2]
    if rows != columns:
        raise ValueError(f"{name} must be square to be an aligned face, got {columns} x {rows} pixels")
    whole = 1 + 2 * margin
    if align == "chip":
        five = (CHIP_TEMPLATE + margin) / whole
    elif align == "crop":
        five = (CHIP_TEMPLATE - _FACE_MIDDLE) / (_FACE_SIDE * whole) + 0.5
    elif align == "tra-net":
        five = geometry.move(geometry.similarity([_NOSE_MIDDLE, _CHIN], [[0.5, 0.5], [0.5, 1.0]]), CHIP_TEMPLATE)
    else:
        raise ValueError(f"align must be one of 'chip', 'crop', 'tra-net', got {align!r}")
    scale = positive_int("size", size) / rows
    shift = (scale - 1) / 2  # edges coincide, and the centre of the first pixel is at 0 before and after
    return _moved(image, np.array([[scale, 0.0, shift], [0.0, scale, shift]]), five * rows - 0.5, size)


def _moved(image: NDArray[Any], transform: Transform, points: Points, size: int) -> AlignedFace:
    return AlignedFace(geometry.warp(image, transform, size, size), transform, geometry.move(transform, points))


def _nose_middle(points: Points) -> Points:
    middle: Points = (point(points, NOSE_ROOT) + point(points, NOSE_TIP)) / 2
    return middle
