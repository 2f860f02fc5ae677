"""Difference maps: the pixels in which an aligned face differs from the neutral face.

J. Chen, C. Wang, K. Wang, M. Liu, "Computational efficient deep neural network with difference attention maps for
facial action unit detection", 2020, section 3.2. Both frames are aligned by dlib's five points
(:func:`~reference_models.faces.alignment.align_chip`); their absolute difference D is set to 0 outside the face
(:mod:`~reference_models.faces.face_mask`), converted to grey, and binarised at five grey levels t:

    map_t = 1 where grey(D AND mask) >= t, else 0        t in {30, 35, 40, 45, 50}

The paper also tried a threshold from the mean and variance of regions and rejected it; :func:`mean_variance_map`
implements it for comparison.

Differences from the paper: none known. Points that it does not specify were chosen as follows. The mask is that of the
action frame, whose picture is multiplied by the maps; ``mask_from`` can choose the neutral frame. Grey is
0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as in OpenCV), computed in integers and rounded half up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from attnzoo import DIFFERENCE_THRESHOLDS, threshold_maps
from attnzoo.checks import finite, one_of, positive_int
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.face_mask import MARGIN, face_mask, face_polygon
from reference_models.faces.geometry import Points
from reference_models.faces.images import RGBImage

Pixels = NDArray[np.uint8]
"""Pixels with any number of leading dimensions, uint8."""


@dataclass(frozen=True, eq=False)
class FaceDifference:
    """The difference between a neutral face and the same person's face in action, with all intermediate results.

    All pictures have the frame's height H and width W.

    Attributes:
        neutral: The neutral face, aligned.
        action: The face in action, aligned.
        colour: Absolute difference (H, W, 3), uint8 (the paper's Fig. 2b and 4a).
        polygon: Corners (28, 2) of the polygon around the face (Fig. 3a).
        mask: (H, W), uint8, 1 inside the polygon and 0 outside (Fig. 3b).
        masked: The difference inside the mask (H, W, 3), uint8 (Fig. 4c).
        levels: Its grey levels (H, W), uint8 (Fig. 4d).
        thresholds: The grey levels of the maps.
        maps: (len(thresholds), H, W), uint8, exactly 0 and 1 (Fig. 5).
    """

    neutral: AlignedFace
    action: AlignedFace
    colour: RGBImage
    polygon: Points
    mask: Pixels
    masked: RGBImage
    levels: Pixels
    thresholds: tuple[float, ...]
    maps: Pixels

    @property
    def face(self) -> RGBImage:
        """The face in action inside the mask (H, W, 3), uint8 (Fig. 3c)."""
        return self.action.image * self.mask[..., None]


def difference(
    neutral: AlignedFace,
    action: AlignedFace,
    *,
    thresholds: Sequence[float] = DIFFERENCE_THRESHOLDS,
    margin: float = MARGIN,
    relative: bool = False,
    mask_from: Literal["action", "neutral"] = "action",
) -> FaceDifference:
    """Return the difference maps of two aligned frames of one person, with all intermediate results.

    Args:
        neutral: The neutral face, aligned by :func:`~reference_models.faces.alignment.align_chip`.
        action: The face in action, aligned to the same size.
        thresholds: Grey levels in [0, 255]; a pixel at or above one is 1 in its map.
        margin: Pixels by which the mask's jaw moves inward and its brows move up.
        relative: Whether to scale ``margin`` with the face, see :func:`~.face_mask.face_polygon`.
        mask_from: Frame whose 66 or 68 landmarks define the mask.

    Raises:
        MissingExtraError: If scikit-image is not installed.
        TypeError: If an argument has the wrong type.
        ValueError: If the frames have different sizes, the landmarks are not 66 or 68, or an option is out of range.
    """
    one_of("mask_from", mask_from, ("action", "neutral"))
    colour = absolute_difference(neutral.image, action.image)
    masked_face = action if mask_from == "action" else neutral
    polygon = face_polygon(masked_face.points, margin=margin, relative=relative)
    mask = face_mask(polygon, size=len(colour))
    masked = colour * mask[..., None]
    levels = grey_levels(masked)
    return FaceDifference(
        neutral, action, colour, polygon, mask, masked, levels, tuple(thresholds), binary_maps(levels, thresholds)
    )


def difference_maps(
    neutral: Pixels, action: Pixels, mask: Pixels, *, thresholds: Sequence[float] = DIFFERENCE_THRESHOLDS
) -> Pixels:
    """Return the difference maps of a batch of aligned frames, the same maps as :func:`difference` for each pair.

    Args:
        neutral: Neutral frames (B, H, W, 3), uint8, or one (H, W, 3) for all.
        action: Frames in action (B, H, W, 3), uint8.
        mask: Face masks (B, H, W), uint8, of 0 and 1.
        thresholds: Grey levels in [0, 255].

    Returns:
        Maps (B, len(thresholds), H, W), uint8, exactly 0 and 1.

    Raises:
        TypeError: If an array is not uint8.
        ValueError: If the shapes do not fit, the mask has other values, or a threshold is out of range.
    """
    levels = grey_levels(absolute_difference(neutral, action))
    _check_pixels("mask", mask)
    if levels.ndim != 3 or mask.shape != levels.shape:
        raise ValueError(
            f"action must have shape (B, H, W, 3) and mask (B, H, W), got {np.shape(action)} and {mask.shape}"
        )
    if mask.max(initial=0) > 1:
        raise ValueError(f"mask must hold 0 and 1, got {mask.max()}")
    return binary_maps(levels * mask, thresholds)  # the same as masking colours: the grey of black is 0


def absolute_difference(neutral: Pixels, action: Pixels) -> Pixels:
    """Return the absolute difference of pictures (..., H, W, 3), uint8.

    Raises:
        TypeError: If one of them is not uint8.
        ValueError: If they are not RGB pictures of the same size.
    """
    for name, pixels in (("neutral", neutral), ("action", action)):
        _check_pixels(name, pixels)
    if action.ndim < 3 or action.shape[-1] != 3 or action.shape[-3:] != neutral.shape[-3:]:
        raise ValueError(
            f"neutral and action must be pictures (.., H, W, 3) of one size, got {neutral.shape} and {action.shape}"
        )
    distance: Pixels = np.maximum(neutral, action) - np.minimum(neutral, action)
    return distance


def grey_levels(image: Pixels) -> Pixels:
    """Return the grey levels (..., H, W) of pictures (..., H, W, 3), uint8: BT.601 luma, rounded half up.

    Raises:
        TypeError: If ``image`` is not uint8.
        ValueError: If it is not an RGB picture.

    Example:
        >>> int(grey_levels(np.array([[[255, 0, 1]]], dtype=np.uint8))[0, 0])
        76
    """
    _check_pixels("image", image)
    if image.ndim < 3 or image.shape[-1] != 3:
        raise ValueError(f"image must have shape (.., H, W, 3), got {image.shape}")
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    levels: Pixels = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    return levels


def binary_maps(levels: Pixels, thresholds: Sequence[float] = DIFFERENCE_THRESHOLDS) -> Pixels:
    """Return the maps (..., n, H, W) of grey levels (..., H, W), uint8: 1 at or above each of n thresholds, else 0.

    Raises:
        TypeError: If ``levels`` is not uint8 or a threshold is not a number.
        ValueError: If ``levels`` has fewer than two dimensions, or a threshold is outside [0, 255].
    """
    _check_pixels("levels", levels)
    if levels.ndim < 2:
        raise ValueError(f"levels must have shape (.., H, W), got {levels.shape}")
    planes = torch.from_numpy(np.ascontiguousarray(levels)).reshape(-1, 1, *levels.shape[-2:])
    maps = threshold_maps(planes, thresholds).to(torch.uint8).numpy()
    return maps.reshape(*levels.shape[:-2], *maps.shape[1:])


def mean_variance_map(levels: Pixels, *, regions: tuple[int, int] = (4, 4), min_variance: float = 100.0) -> Pixels:
    """Return the map that the paper tried and rejected, with a threshold from each region's mean and variance.

    The picture is divided into a grid. In regions with a variance of at least ``min_variance``, pixels above the
    region's mean are 1; all other pixels are 0. The paper prints neither its regions nor its limit of the variance.

    Args:
        levels: Grey levels (H, W), uint8.
        regions: Rows and columns of the grid; if they do not divide the sides, regions differ by one pixel.
        min_variance: Smallest variance, in squared grey levels, that counts as movement.

    Returns:
        Map (H, W), uint8, exactly 0 and 1.

    Raises:
        TypeError: If ``levels`` is not uint8 or an option has the wrong type.
        ValueError: If ``levels`` does not have two dimensions, or is smaller than the grid.
    """
    _check_pixels("levels", levels)
    rows, columns = (positive_int("regions", count) for count in regions)
    if levels.ndim != 2 or levels.shape[0] < rows or levels.shape[1] < columns:
        raise ValueError(f"levels must have shape (H, W) of at least {rows} x {columns} pixels, got {levels.shape}")
    finite("min_variance", min_variance)
    result = np.zeros(levels.shape, dtype=np.uint8)
    for band, target in zip(np.array_split(levels, rows), np.array_split(result, rows), strict=True):
        for region, part in zip(np.array_split(band, columns, 1), np.array_split(target, columns, 1), strict=True):
            if region.var() >= min_variance:
                part[:] = region > region.mean()
    return result


def _check_pixels(name: str, pixels: Any) -> None:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        raise TypeError(f"{name} must be a numpy array of uint8, got {kind}")
