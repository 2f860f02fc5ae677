"""Draws the sheet of a difference: the steps from two photographs to CEDNN's maps, in the order of the paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_models.extras import load
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.difference import FaceDifference, absolute_difference, grey_levels, mean_variance_map
from reference_models.faces.face_mask import BETWEEN_BROWS
from reference_models.faces.geometry import warp
from reference_models.faces.images import RGBImage
from reference_models.figures.overlay import ACCENT, DPI, INK, PAPER, SECOND, as_png, panels

_BRIGHTER = 2  # factor on the brightness of differences, which are mostly dark
_VISIBLE = 10  # smallest grey level that is coloured
_WIDTH, _TITLES, _HEADING = 15.6, 0.85, 0.5  # inches


def draw_difference(difference: FaceDifference, *, action_photograph: RGBImage, title: str) -> bytes:
    """Return the sheet as a PNG file.

    Args:
        difference: The difference with its intermediate results.
        action_photograph: The photograph of the face in action (h, w, 3), uint8, to show the unaligned difference.
        title: Title of the sheet.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure_module = load("matplotlib.figure", package="matplotlib", extra="report")
    heights = [_WIDTH / columns + _TITLES for columns in (4, 5, len(difference.maps) + 1)]
    figure = figure_module.Figure(
        figsize=(_WIDTH, sum(heights) + _HEADING), dpi=DPI, facecolor=PAPER, layout="constrained"
    )
    figure.suptitle(title, fontsize=17, fontweight="bold", color=INK, parse_math=False)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    alignment, face, maps = figure.subfigures(len(heights), 1, height_ratios=heights)
    _draw_alignment(alignment, difference, unaligned_difference(difference.neutral, action_photograph))
    _draw_face(face, difference)
    _draw_maps(maps, difference)
    return as_png(figure)


def unaligned_difference(neutral: AlignedFace, action_photograph: RGBImage) -> RGBImage:
    """Return the difference without alignment (Fig. 2a): both photographs with the neutral one's transform."""
    size = len(neutral.image)
    return absolute_difference(neutral.image, warp(action_photograph, neutral.transform, size, size))


def _draw_alignment(part: Any, difference: FaceDifference, unaligned: RGBImage) -> None:
    peak = max(1, int(unaligned.max()), int(difference.colour.max())) / _BRIGHTER
    neutral, action, before, after = panels(
        part,
        "1  Both frames aligned by dlib's five points, and their absolute difference",
        [
            "neutral",
            "action",
            f"difference before alignment, brightened\nmean {unaligned.mean():.1f} of 255",
            f"difference after alignment, brightened alike\nmean {difference.colour.mean():.1f} of 255",
        ],
    )
    for axis, face in ((neutral, difference.neutral), (action, difference.action)):
        axis.imshow(face.image)
        axis.scatter(*face.points.T, s=6, color=SECOND, linewidths=0)
    for axis, pixels in ((before, unaligned), (after, difference.colour)):
        axis.imshow(np.minimum(1, pixels / peak))


def _draw_face(part: Any, difference: FaceDifference) -> None:
    polygon, mask, face, levels, place = panels(
        part,
        "2  The face: jaw moved inward, brows moved up, one more point between them, so that AU 4's furrow is inside",
        [
            "polygon",
            f"mask, {difference.mask.mean():.0%} of the frame",
            "face inside the mask",
            f"grey difference inside, to {difference.levels.max()} of 255",
            "where it is",
        ],
    )
    polygon.imshow(difference.action.image)
    outline = load("matplotlib.patches", package="matplotlib", extra="report").Polygon
    polygon.add_patch(outline(difference.polygon, fill=False, edgecolor=ACCENT, linewidth=1.8))
    polygon.scatter(*difference.polygon[BETWEEN_BROWS], s=60, marker="+", color=ACCENT, zorder=3)
    mask.imshow(difference.mask, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    face.imshow(difference.face)
    brightest = max(1, int(difference.levels.max()))
    levels.imshow(difference.levels, cmap="gray", vmin=0, vmax=brightest)
    place.imshow(grey_levels(difference.action.image), cmap="gray", vmin=-60, vmax=255)
    place.imshow(np.ma.masked_less(difference.levels, _VISIBLE), cmap="inferno", vmin=0, vmax=brightest, alpha=0.85)


def _draw_maps(part: Any, difference: FaceDifference) -> None:
    inside = max(1, int(difference.mask.sum()))
    titles = [
        f"at least {threshold:g}\n{plane.sum():,} pixels, {plane.sum() / inside:.1%} of the face"
        for threshold, plane in zip(difference.thresholds, difference.maps, strict=True)
    ]
    *axes, rejected = panels(
        part,
        "3  The maps, binary and nested, that CEDNN takes",
        [*titles, "rejected by the paper:\nmean and variance by region"],
    )
    for axis, plane in zip(axes, difference.maps, strict=True):
        axis.imshow(plane, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    rejected.imshow(mean_variance_map(difference.levels), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for spine in rejected.spines.values():
        spine.set(color=ACCENT, linestyle="--", linewidth=1.4)
