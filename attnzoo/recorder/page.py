"""All gates of a pass as one HTML page: the image, each gate over it or as a curve, statistics and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attnzoo.pages import Cell, Column, Curve, Gallery, Picture, Section, Table, Words, render, sizes
from attnzoo.recorder import picture
from attnzoo.recorder.statistics import MARGIN, GateStatistics
from attnzoo.recorder.table import HEADER, cells

LONGEST = 384
"""Pixels of the image's longer side on the page."""
MOST_GATES = 120
"""If there are more gates, only every second, third, .. is shown; the table lists all."""
WORDS = (
    f"A value is saturated within {MARGIN} of 0 or 1, where a sigmoid hardly learns.",
    f"A channel is dead if it was within {MARGIN} of 0 in all passes: what it gates is lost.",
    f"A channel is open if it was within {MARGIN} of 1 in all passes: it gates nothing.",
    "Entropy is in bits: 1 where a gate is undecided, 0 where it is 0 or 1.",
    "Masks are 0 and 1 by construction and are not warned of.",
)


def draw(
    gates: Mapping[str, Tensor],
    statistics: Mapping[str, GateStatistics],
    image: NDArray[np.uint8] | Tensor,
    *,
    index: int,
    title: str,
) -> bytes:
    """Return the page as HTML in UTF-8.

    Raises:
        ImportError: If jinja2 or matplotlib is not installed.
        IndexError: If ``index`` is not below the number of kept images.
        ValueError: If there is no gate.
    """
    if not gates:
        raise ValueError("there is nothing to show: no gate is kept")
    pixels = picture.shrunk(picture.as_pixels(image), LONGEST)
    alerts = {name: alert for name, one in statistics.items() if (alert := one.alert()) is not None}
    shown = list(gates)[:: -(-len(gates) // MOST_GATES)]
    items = _items({name: gates[name] for name in shown}, alerts, pixels, index)
    intro = (
        f"{len(shown)} of {len(gates)} gates. A plane lies over the image from its least value, dark, to its greatest, "
        "bright. A gate without pixels is the falling curve of its channels, between 0 and 1 or as far as they go."
    )
    warned = [Words(list(alerts.values()), alert=True)] if alerts else []
    sections = [
        Section("gates", "Gates", intro, [*warned, Gallery("gates-all", items)]),
        Section("statistics", "Statistics", "Over all recorded passes.", [*warned, _table(statistics, alerts)]),
        Section("words", "What the words mean", "", [Words(WORDS)]),
    ]
    count = f"{len(alerts)} of {len(gates)} gates have a warning." if alerts else "No gate has a warning."
    made = "Made by attnzoo.record."
    return render("page.html", title=title, subtitle=count, sections=sections, made=made).encode()


def _items(
    gates: Mapping[str, Tensor], alerts: Mapping[str, str], pixels: NDArray[np.uint8], index: int
) -> Sequence[Picture | Curve]:
    planes, channels = picture.planes(gates, index), picture.channels(gates, index)
    overlays = picture.overlays(pixels, planes)
    items: list[Picture | Curve] = [Picture("the image", "The image that the model saw", pixels)]
    for name in gates:
        kind, alert = name.rpartition(":")[2].partition("#")[0], alerts.get(name, "")
        if name in planes:
            plane = planes[name]
            span = f"{plane.min():.3f} to {plane.max():.3f}"
            note = f"{sizes(plane.shape)}, {span}"
            items.append(Picture(name, f"{name} over the image, {span}", overlays[name], note, kind, alert))
        else:
            values = np.sort(channels[name])[::-1]
            note = f"{len(values)} channels, {values[-1]:.3f} to {values[0]:.3f}, mean {values.mean():.3f}"
            items.append(Curve(name, f"{name}: {note}", values.tolist(), note, kind, alert))
    return items


def _table(statistics: Mapping[str, GateStatistics], alerts: Mapping[str, str]) -> Table:
    columns = [Column(title, numeric=number > 1) for number, title in enumerate(HEADER)]
    rows = [[*_figures(one), _warning(alerts.get(name))] for name, one in statistics.items()]
    return Table("statistics-all", "Every gate", [*columns, Column("warning", choice=True)], rows)


def _figures(one: GateStatistics) -> list[Cell]:
    values: Sequence[Any] = (None, None, one.mean, one.std, one.low, one.entropy, one.saturated, one.dead, one.open)
    return [Cell(text, value=value) for text, value in zip(cells(one), values, strict=True)]


def _warning(alert: str | None) -> Cell:
    return Cell("none", verdict="yes") if alert is None else Cell("warned", verdict="no")
