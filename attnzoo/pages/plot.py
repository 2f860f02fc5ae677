"""Scatter plots, drawn by matplotlib as SVG inside the page, with an accessible label for each point.

matplotlib places axes, ticks and marks. Its SVG is then changed: colours become the page's variables (for the light and
the dark theme), texts use the page's font, and each point gets a sentence, which is shown on hover or keyboard focus
and read by screen readers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

from attnzoo.extras import load

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_INK, _RULE = "#010203", "#040506"
_SERIES = tuple(f"#0a0b{number:02x}" for number in range(8))
_COLORS = {_INK: "var(--quiet)", _RULE: "var(--rule)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(_SERIES)
}
_MARKS = "os^DvPX*"
_SIZE = (4.7, 3.3)  # inches; legible on a phone
_STEPS = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 4, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
_MOST_TICKS = 6


@dataclass(frozen=True)
class Point:
    """One point: its series, its coordinates, and the sentence that describes it."""

    series: str
    x: float
    y: float
    said: str


@dataclass(frozen=True)
class Plot:
    """A plot of named points.

    Attributes:
        key: Its id on the page: letters, digits and hyphens.
        title: Its heading.
        x: Name of the horizontal axis, with its unit.
        y: Name of the vertical axis, with its unit.
        points: At least one; series get colours and marks in the order in which they come, eight at most.
        joined: Series whose points are joined by a line, in the order of x.
        logarithmic: Whether both axes are logarithmic.
        note: A sentence below it.
    """

    key: str
    title: str
    x: str
    y: str
    points: Sequence[Point]
    joined: Sequence[str] = ()
    logarithmic: bool = True
    note: str = ""
    template: ClassVar[str] = "plot.html"

    @property
    def series(self) -> list[str]:
        """The names of the series, in order."""
        return list(dict.fromkeys(point.series for point in self.points))

    @property
    def svg(self) -> Any:
        """The SVG for the page, as safe markup.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If there is no point, or more series than marks.
        """
        if not self.points or len(self.series) > len(_MARKS):
            raise ValueError(
                f"a plot needs points of 1 to {len(_MARKS)} series, got {len(self.points)} of {self.series}"
            )
        root = ET.fromstring(self._drawn())  # noqa: S314 - written by matplotlib
        _own(root, self._said())
        root.attrib |= {"role": "group", "aria-label": self.title, "class": "drawing"}
        for name in ("width", "height"):
            del root.attrib[name]
        markup = load("markupsafe", extra="report", what="plots").Markup
        return markup(ET.tostring(root, encoding="unicode"))

    def _said(self) -> dict[str, tuple[int, str]]:
        """Return for each point's id its series and its sentence, from left to right."""
        ordered = sorted(self.points, key=lambda point: (point.x, point.y))
        return {
            f"{self.key}-p{number}": (self.series.index(point.series), f"{point.series}: {point.said}")
            for number, point in enumerate(ordered)
        }

    def _drawn(self) -> bytes:
        rc_context = load("matplotlib", extra="report", what="plots").rc_context
        settings = {"svg.fonttype": "none", "svg.hashsalt": self.key, "font.size": 10, "text.color": _INK}
        with rc_context(settings):
            figure = load("matplotlib.figure", extra="report", what="plots").Figure(figsize=_SIZE, layout="constrained")
            axes = figure.subplots()
            self._axes(axes)
            for number, series in enumerate(self.series):
                line = sorted((p.x, p.y) for p in self.points if p.series == series)
                if series in self.joined:
                    (drawn,) = axes.plot(*zip(*line, strict=True), color=_SERIES[number], linewidth=1.4, zorder=2)
                    drawn.set_gid(f"{self.key}-line{number}")
            for gid, point in zip(self._said(), sorted(self.points, key=lambda p: (p.x, p.y)), strict=True):
                number = self.series.index(point.series)
                style = {"marker": _MARKS[number], "color": _SERIES[number], "markersize": 6.5, "linestyle": "none"}
                (drawn,) = axes.plot([point.x], [point.y], zorder=3, **style)
                drawn.set_gid(gid)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        return buffer.getvalue()

    def _axes(self, axes: Any) -> None:
        axes.set_xlabel(self.x, color=_INK)
        axes.set_ylabel(self.y, color=_INK)
        for axis, values in (
            (axes.xaxis, [point.x for point in self.points]),
            (axes.yaxis, [point.y for point in self.points]),
        ):
            if self.logarithmic:
                set_scale = axes.set_xscale if axis is axes.xaxis else axes.set_yscale
                set_scale("log")
                ticks = _ticks(min(values), max(values))
                axis.set_ticks(ticks, [f"{tick:,.10g}" for tick in ticks])
                axis.set_ticks([], minor=True)
        axes.grid(color=_RULE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(color=_RULE, labelcolor=_INK, length=0, labelsize=9)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(_INK)
        axes.margins(0.07)


def _ticks(low: float, high: float) -> list[float]:
    """Return at most six round values over the range of a logarithmic axis."""
    inside: list[float] = []
    for steps in _STEPS:
        ticks = [step * 10.0**decade for decade in range(-9, 16) for step in steps]
        inside = [tick for tick in ticks if 0.93 * low <= tick <= 1.07 * high]
        if len(inside) <= _MOST_TICKS:
            break
    return inside[:: -(-len(inside) // _MOST_TICKS) or 1]


def _own(root: ET.Element, said: dict[str, tuple[int, str]]) -> None:
    """Give the drawing the page's colours, classes and labels, and remove what only a separate SVG file needs."""
    _cut(root, {f"{_SVG}metadata", f"{_SVG}style"})
    used = set(re.findall(r"#([\w-]+)", " ".join(value for each in root.iter() for value in each.attrib.values())))
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if style := element.get("style"):
            element.set("style", _restyled(style))
        if target := element.attrib.pop(f"{_XLINK}href", None):
            element.set("href", target)
        name = element.get("id", "")
        if name in said:
            number, sentence = said[name]
            element.attrib |= {"class": f"point series-{number}", "role": "img", "aria-label": sentence}
        elif match := re.search(r"-line(\d+)$", name):
            element.set("class", f"line series-{match[1]}")
        elif name and name not in used:  # ids of matplotlib, not unique on a page
            del element.attrib["id"]
    points = {element.get("id"): element for element in root.iter() if element.get("id") in said}
    for number, name in enumerate(said):
        points[name].set("tabindex", "-1" if number else "0")  # one tab stop; arrow keys move between points


def _cut(root: ET.Element, tags: set[str]) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in tags:
                parent.remove(child)


def _restyled(style: str) -> str:
    style = re.sub(r"font(-[a-z]+)?: [^;]+;? ?", "", style)
    return re.sub("|".join(_COLORS), lambda match: _COLORS[match[0]], style)
