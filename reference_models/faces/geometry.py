"""Similarity transforms of points and pictures.

A transform is a matrix (2, 3) that maps a point (x, y, 1) of the photograph to the frame, the aligned picture.
Coordinates are in pixels; the centre of the top left pixel is (0, 0), as in OpenCV and dlib, so that an image of height
H extends from -0.5 to H - 0.5.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference_models.extras import load
from reference_models.faces.images import RGBImage, as_rgb

Points = NDArray[np.float64]
"""Points (N, 2), x to the right and y down."""
Transform = NDArray[np.float64]
"""Affine matrix (2, 3)."""


def as_points(name: str, points: ArrayLike, counts: tuple[int, ...] | None = None) -> Points:
    """Return ``points`` as an array (N, 2), float64; N must be one of ``counts`` unless that is None.

    Raises:
        ValueError: If the shape does not fit, or a coordinate is not finite.
    """
    array = np.asarray(points, dtype=np.float64)
    allowed = "N" if counts is None else " or ".join(map(str, counts))
    if array.ndim != 2 or array.shape[1] != 2 or (counts is not None and len(array) not in counts):
        raise ValueError(f"{name} must have shape ({allowed}, 2), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array


def similarity(source: ArrayLike, target: ArrayLike) -> Transform:
    """Return the similarity (rotation, scale, shift; no reflection) that maps ``source`` to ``target``.

    With two points it is exact; with more it is the least-squares solution. In complex numbers a similarity is
    ``z -> a*z + b``, so the problem is linear in two unknowns.

    Args:
        source: Points (N, 2), at least two of them different.
        target: Points (N, 2).

    Returns:
        Matrix (2, 3), float64.

    Raises:
        ValueError: If the shapes do not fit, or all source points are the same.
    """
    source = as_points("source", source)
    target = as_points("target", target, (len(source),))
    spread = source - source.mean(0)
    z = spread[:, 0] + 1j * spread[:, 1]
    w = (target - target.mean(0)) @ np.array([1, 1j])
    energy = float((np.abs(z) ** 2).sum())
    if energy == 0:
        raise ValueError("source must hold at least two different points")
    a = (np.conj(z) * w).sum() / energy
    linear = np.array([[a.real, -a.imag], [a.imag, a.real]])
    return np.column_stack([linear, target.mean(0) - linear @ source.mean(0)])


def move(transform: Transform, points: ArrayLike) -> Points:
    """Return the transformed points (N, 2)."""
    points = as_points("points", points)
    return points @ transform[:, :2].T + transform[:, 2]


def inverse(transform: Transform) -> Transform:
    """Return the inverse transform.

    Raises:
        ValueError: If there is none, because the matrix is singular.
    """
    linear = transform[:, :2]
    determinant = linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]
    if determinant == 0:
        raise ValueError("transform has no inverse: it flattens the plane")
    adjugate = np.array([[linear[1, 1], -linear[0, 1]], [-linear[1, 0], linear[0, 0]]])
    inverted = adjugate / determinant
    return np.column_stack([inverted, -inverted @ transform[:, 2]])


def compose(second: Transform, first: Transform) -> Transform:
    """Return the transform that applies ``first``, then ``second``."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def warp(image: NDArray[Any], transform: Transform, width: int, height: int) -> RGBImage:
    """Return the image warped by the transform, black outside of the photograph.

    Interpolation is bilinear; a picture reduced to less than half its size is first reduced by area averaging, so that
    fine texture does not alias.

    Args:
        image: Pixels in a form that :func:`~reference_models.faces.images.as_rgb` accepts.
        transform: Matrix (2, 3) from the image to the frame.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Returns:
        Pixels (height, width, 3), uint8.
    """
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    pixels, cut = _visible_part(as_rgb(image), inverse(transform), width, height)
    transform = compose(transform, inverse(cut))
    if pixels.size == 0:
        return np.zeros((height, width, 3), dtype=np.uint8)
    shrink = min(int(1 / math.hypot(transform[0, 0], transform[1, 0])), *pixels.shape[:2])
    if shrink > 1:
        pixels, shrunk = _shrink(cv2, pixels, shrink)
        transform = compose(transform, inverse(shrunk))
    moved: RGBImage = cv2.warpAffine(
        pixels, transform, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return moved


def _visible_part(pixels: RGBImage, back: Transform, width: int, height: int) -> tuple[RGBImage, Transform]:
    """Return the part of the image that the frame shows, and the transform from the image to that part.

    It also serves large photographs: OpenCV rejects sides above 32,767 pixels, but a face is only a small part.
    """
    corners = move(back, [[-1, -1], [width, -1], [-1, height], [width, height]])
    margin = 1 + math.ceil(math.hypot(back[0, 0], back[1, 0]))
    limit = np.array(pixels.shape[1::-1])
    left, top = np.clip(np.floor(corners.min(0)) - margin, 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)) + margin + 1, 0, limit).astype(int)
    return pixels[top:bottom, left:right], np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])


def _shrink(cv2: Any, pixels: RGBImage, factor: int) -> tuple[RGBImage, Transform]:
    """Return the pixels averaged over blocks of factor x factor, and the transform to the reduced picture."""
    rows, columns = pixels.shape[:2]
    pixels = cv2.copyMakeBorder(pixels, 0, -rows % factor, 0, -columns % factor, cv2.BORDER_REPLICATE)
    size = (pixels.shape[1] // factor, pixels.shape[0] // factor)
    # The centre of block 0 is at (factor - 1) / 2 in the original picture and at 0 in the reduced one.
    shift = -(factor - 1) / (2 * factor)
    transform = np.array([[1 / factor, 0, shift], [0, 1 / factor, shift]])
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), transform
