"""The sections and blocks of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


class Block(Protocol):
    """A part of a section: a frozen dataclass with the name of its template."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Section:
    """A part of the page, shown as a tab.

    Attributes:
        key: Its anchor: letters, digits and hyphens, unique on the page.
        title: Its heading, short because it is also the tab's name.
        intro: One or two sentences below the heading.
        blocks: Its blocks, from top to bottom.
    """

    key: str
    title: str
    intro: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Words:
    """Sentences; ``quiet`` ones are small and grey, ``numbered`` ones a list, ``alert`` ones warnings."""

    sentences: Sequence[str]
    quiet: bool = False
    numbered: bool = False
    alert: bool = False
    template: ClassVar[str] = "words.html"


@dataclass(frozen=True)
class Missing:
    """A note that ``what`` is not measured yet, with the command that measures it."""

    what: str
    command: str
    template: ClassVar[str] = "missing.html"


@dataclass(frozen=True)
class Tile:
    """One figure of the overview: ``figure`` of ``whole``, what is counted, and the section with the details."""

    figure: str
    whole: str
    what: str
    section: str
    share: float


@dataclass(frozen=True)
class Tiles:
    """The figures of the overview side by side."""

    tiles: Sequence[Tile]
    template: ClassVar[str] = "tiles.html"


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        title: Its heading.
        said: Its alternative text.
        pixels: (H, W, 3), uint8.
        note: A line below it.
        kind: Its kind, by which the gallery can be filtered.
        alert: A warning; empty for none.
    """

    title: str
    said: str
    pixels: NDArray[np.uint8]
    note: str = ""
    kind: str = ""
    alert: str = ""
    template: ClassVar[str] = "picture.html"

    @property
    def url(self) -> str:
        """The pixels as a ``data:`` address."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(
            buffer, "JPEG", quality=88, subsampling=0
        )  # high quality, because colours encode values
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True)
class Curve:
    """Values as a curve, with an axis from 0 to 1 or wider; the other attributes are those of :class:`Picture`."""

    title: str
    said: str
    values: Sequence[float]
    note: str = ""
    kind: str = ""
    alert: str = ""
    template: ClassVar[str] = "curve.html"

    @property
    def line(self) -> str:
        """The points of the line in a square of 100 x 100, at most a hundred of them."""
        low, high, last = min(0.0, *self.values), max(1.0, *self.values), max(len(self.values) - 1, 1)
        chosen = range(0, len(self.values), -(-len(self.values) // 100))
        return " ".join(f"{100 * x / last:.1f},{100 * (high - self.values[x]) / (high - low):.1f}" for x in chosen)


@dataclass(frozen=True)
class Gallery:
    """Pictures and curves in a grid, with a search field."""

    key: str
    items: Sequence[Picture | Curve]
    template: ClassVar[str] = "gallery.html"

    @property
    def kinds(self) -> list[str]:
        """The different kinds, in order."""
        return list(dict.fromkeys(item.kind for item in self.items if item.kind))
