"""All gates of a pass on one picture, drawn by matplotlib."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attnzoo.recorder import picture
from attnzoo.recorder.statistics import GateStatistics

COLUMNS, MOST_PANELS = 6, 60
_INK, _ACCENT = "#1b1f24", "#e4572e"
_PANEL, _TITLES, _HEADING, _DPI = 2.5, 0.75, 0.6, 110  # inches, except the last
_NAME_WIDTH = 38
_LONGEST = 512  # pixels of the image on the sheet


def draw(
    gates: Mapping[str, Tensor],
    statistics: Mapping[str, GateStatistics],
    image: NDArray[np.uint8] | Tensor,
    *,
    index: int,
    title: str,
) -> bytes:
    """Return a PNG with the image, each spatial gate over it, and each channel gate as a sorted curve.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no gate.
    """
    if not gates:
        raise ValueError("there is nothing to draw: no gate is kept")
    pixels = picture.shrunk(picture.as_pixels(image), _LONGEST)
    planes, channels = picture.planes(gates, index), picture.channels(gates, index)
    overlays = picture.overlays(pixels, planes)
    panels: list[tuple[str, Callable[[Any], None]]] = []
    for name in gates:
        if name in overlays:
            panels.append((_plane_title(name, planes[name]), _shows(overlays[name])))
        else:
            panels.append((_channel_title(name, channels[name], statistics.get(name)), _curves(channels[name])))
    shown = panels[:: -(-len(panels) // MOST_PANELS)]
    if len(shown) < len(panels):
        title = f"{title} ({len(shown)} of {len(panels)} gates)"
    return _figure(title, [("the image", _shows(pixels)), *shown], COLUMNS, pixels.shape[0] / pixels.shape[1])


def draw_grids(grids: Sequence[NDArray[np.uint8]], titles: Sequence[str]) -> bytes:
    """Return grey pictures side by side as PNG.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    panels = [(title, _shows(grid, scale=3)) for title, grid in zip(titles, grids, strict=True)]
    return _figure("", panels, len(panels), max(grid.shape[0] / grid.shape[1] for grid in grids))


def _figure(title: str, panels: Sequence[tuple[str, Callable[[Any], None]]], columns: int, shape: float) -> bytes:
    figure_class = picture.matplotlib("matplotlib.figure").Figure
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    panel = _PANEL if columns > 2 else 2 * _PANEL
    size = (panel * columns, (panel * min(2.0, shape) + _TITLES) * rows + (_HEADING if title else 0))
    figure = figure_class(figsize=size, dpi=_DPI, facecolor="white", layout="constrained")
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", color=_INK, parse_math=False)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (text, show) in zip(axes, panels, strict=False):
        axis.set_title(text, fontsize=7, color=_INK, parse_math=False)
        show(axis)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # file names may have any script
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _shows(pixels: NDArray[np.uint8], scale: int = 1) -> Callable[[Any], None]:
    def show(axis: Any) -> None:
        axis.imshow(pixels.repeat(scale, 0).repeat(scale, 1), cmap="gray", vmin=0, vmax=255)
        axis.set_xticks([])
        axis.set_yticks([])

    return show


def _curves(values: NDArray[np.float32]) -> Callable[[Any], None]:
    def show(axis: Any) -> None:
        axis.plot(np.arange(len(values)), np.sort(values)[::-1], color=_ACCENT, linewidth=1.2)
        axis.set_ylim(min(0.0, float(values.min())), max(1.0, float(values.max())))
        axis.tick_params(labelsize=6)

    return show


def _plane_title(name: str, plane: NDArray[np.float32]) -> str:
    height, width = plane.shape
    return f"{_wrapped(name)}\n{height} x {width}, {plane.min():.3f} (dark) to {plane.max():.3f} (bright)"


def _channel_title(name: str, values: NDArray[np.float32], statistics: GateStatistics | None) -> str:
    dead = "" if statistics is None else f", {statistics.dead} dead"
    return f"{_wrapped(name)}\n{len(values)} channels, sorted; mean {values.mean():.3f}{dead}"


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, _NAME_WIDTH, break_long_words=True))
