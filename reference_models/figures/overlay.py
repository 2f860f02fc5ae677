"""Draws the demonstration's sheet: the face, TRA-Net's regions, CBAM's spatial gates, and difference maps."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from attnzoo import DIFFERENCE_THRESHOLDS, RegionMask, threshold_maps
from reference_models.extras import load
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.images import RGBImage
from reference_models.faces.landmarks import CHIN, NOSE_ROOT, NOSE_TIP, Face

INK, PAPER, ACCENT, SECOND = "#1b1f24", "#ffffff", "#e4572e", "#17bebb"
DPI = 130
_WIDTH, _PANEL, _TITLES, _SECOND_LINE, _HEADING = 15.0, 2.85, 0.8, 0.3, 0.5  # inches
_TALLEST = 2.0  # largest height over width of a panel; taller photographs are reduced
_LONGEST_SHOWN = 900


@dataclass(frozen=True, eq=False)
class Sheet:
    """The contents of the sheet.

    Attributes:
        name: Name of the photograph.
        photograph: Pixels (H, W, 3), uint8.
        face: The face in the photograph.
        aligned: The face aligned for TRA-Net.
        gates: Name of each CBAM's site and its spatial gate (h, w) for the whole photograph.
        difference: Grey difference (h, w) to the neutral face, uint8; None if there is none.
    """

    name: str
    photograph: RGBImage
    face: Face
    aligned: AlignedFace
    gates: Sequence[tuple[str, NDArray[np.float32]]]
    difference: NDArray[np.uint8] | None = None


def draw(sheet: Sheet) -> bytes:
    """Return the sheet as a PNG file.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure_module = load("matplotlib.figure", package="matplotlib", extra="report")
    rows, columns = sheet.photograph.shape[:2]
    photograph_height = _PANEL * min(_TALLEST, rows / columns)
    heights = [max(_PANEL, photograph_height) + _TITLES, photograph_height + _TITLES + _SECOND_LINE]
    if sheet.difference is not None:
        heights.append(_WIDTH / (1 + len(DIFFERENCE_THRESHOLDS)) + _TITLES)
    figure = figure_module.Figure(
        figsize=(_WIDTH, sum(heights) + _HEADING), dpi=DPI, facecolor=PAPER, layout="constrained"
    )
    figure.suptitle(f"attnzoo on {sheet.name}", fontsize=17, fontweight="bold", color=INK, parse_math=False)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    parts = np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights))
    _draw_face(parts[0], sheet)
    _draw_gates(parts[1], sheet)
    if sheet.difference is not None:
        _draw_difference(parts[2], sheet.difference)
    return as_png(figure)


def as_png(figure: Any) -> bytes:
    """Return a matplotlib figure as a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a file's name may be in any script
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_face(part: Any, sheet: Sheet) -> None:
    regions = _regions(sheet.aligned)
    photograph, aligned, *masked = panels(
        part,
        "The face: dlib's box and 68 landmarks, TRA-Net's alignment, and the three regions of its hard masks",
        [
            "photograph",
            "aligned: nose centred, chin at the bottom",
            *(f"region: {name}" for name in regions),
        ],
    )
    _show(photograph, sheet.photograph)
    left, top, right, bottom = sheet.face.box
    photograph.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=ACCENT, linewidth=1.8)
    photograph.scatter(*sheet.face.points.T, s=2.5, color=SECOND, linewidths=0)
    frame = sheet.aligned
    aligned.imshow(frame.image)
    aligned.scatter(*frame.points.T, s=7, color=SECOND, linewidths=0)
    aligned.axhline(frame.center_row - 0.5, color=ACCENT, linewidth=1.2, linestyle="--")
    nose = (frame.points[NOSE_ROOT] + frame.points[NOSE_TIP]) / 2
    aligned.scatter(*np.stack([nose, frame.points[CHIN]]).T, s=60, marker="+", color=ACCENT, clip_on=False, zorder=3)
    for axis, pixels in zip(masked, regions.values(), strict=True):
        axis.imshow(pixels)


def _regions(aligned: AlignedFace) -> dict[str, RGBImage]:
    """Return the aligned face inside each of TRA-Net's region masks, by region."""
    pixels = torch.from_numpy(aligned.image).permute(2, 0, 1)[None].float()
    split = RegionMask(3, frame_height=len(aligned.image))(pixels, aligned.center_row)
    return {name: region[0].permute(1, 2, 0).to(torch.uint8).numpy() for name, region in split.items()}


def _draw_gates(part: Any, sheet: Sheet) -> None:
    titles = [
        f"after {site}, {gate.shape[0]} x {gate.shape[1]}\nfrom {gate.min():.3f} (dark) to {gate.max():.3f} (bright)"
        for site, gate in sheet.gates
    ]
    axes = panels(
        part,
        "CBAM's spatial gates on the pretrained backbone's features: untrained gates, as they are right after attach",
        titles,
    )
    rows, columns = sheet.photograph.shape[:2]
    grey = np.asarray(_small(sheet.photograph).convert("L").convert("RGB"))
    for axis, (_, gate) in zip(axes, sheet.gates, strict=True):
        _show(axis, grey, (rows, columns))
        axis.imshow(gate, cmap="inferno", alpha=0.6, extent=_extent(rows, columns), interpolation="bilinear")


def _draw_difference(part: Any, difference: NDArray[np.uint8]) -> None:
    levels, *maps = panels(
        part,
        "What has changed since the neutral frame: CEDNN's difference maps",
        ["difference inside the face", *(f"at least {threshold:.0f}" for threshold in DIFFERENCE_THRESHOLDS)],
    )
    levels.imshow(difference, cmap="gray", vmin=0, vmax=max(1, int(difference.max())))
    binary = threshold_maps(torch.from_numpy(difference)[None, None])[0].numpy()
    for axis, plane in zip(maps, binary, strict=True):
        axis.imshow(plane, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def panels(part: Any, title: str, titles: Sequence[str]) -> list[Any]:
    """Return a row of axes without ticks in a (sub)figure: one for each of ``titles``, under the heading ``title``."""
    part.suptitle(title, fontsize=13, color=INK, x=0.012, ha="left")
    axes = list(np.atleast_1d(part.subplots(1, len(titles))))
    for axis, text in zip(axes, titles, strict=True):
        axis.set_title(text, fontsize=10, color=INK)
        axis.set_xticks([])
        axis.set_yticks([])
    return axes


def _show(axis: Any, pixels: RGBImage, size: tuple[int, int] | None = None) -> None:
    """Show a picture, reduced if it is large, in the coordinates of its full size (rows, columns)."""
    rows, columns = size or pixels.shape[:2]
    axis.imshow(np.asarray(_small(pixels)), extent=_extent(rows, columns))


def _small(pixels: RGBImage) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((_LONGEST_SHOWN, _LONGEST_SHOWN), Image.Resampling.LANCZOS)
    return image


def _extent(rows: int, columns: int) -> tuple[float, float, float, float]:
    return (-0.5, columns - 0.5, rows - 0.5, -0.5)
