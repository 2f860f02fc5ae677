"""What a page is made of."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


class Block(Protocol):
    """Anything that a section shows: a frozen dataclass with a template of its own."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Section:
    """A part of the page, one tab of it.

    Attributes:
        key: Its anchor: letters, digits and hyphens, once on a page.
        title: Its heading, short, for it is the tab's too.
        intro: One or two sentences below the heading.
        blocks: What it shows, from top to bottom.
    """

    key: str
    title: str
    intro: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Words:
    """Sentences; ``quiet`` ones are small and grey, a ``list`` has a point each."""

    sentences: Sequence[str]
    quiet: bool = False
    numbered: bool = False
    alert: bool = False
    template: ClassVar[str] = "words.html"


@dataclass(frozen=True)
class Missing:
    """What is not measured yet, and the command that would."""

    what: str
    command: str
    template: ClassVar[str] = "missing.html"


@dataclass(frozen=True)
class Tile:
    """One figure of the overview: ``figure`` of ``whole``, what it counts, and the section with the details."""

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
        title: What stands above it.
        said: What it shows, for those who do not see it.
        pixels: (H, W, 3), uint8.
        note: A line below it.
        kind: What a filter can ask for.
        alert: What is wrong with what it shows; empty for nothing.
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
        )  # a map of colours is read by its colours
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@dataclass(frozen=True)
class Curve:
    """Values as a line beside pictures, from 0 to 1 or as far as they go; attributes as those of :class:`Picture`."""

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
    """Pictures and curves side by side, which can be searched."""

    key: str
    items: Sequence[Picture | Curve]
    template: ClassVar[str] = "gallery.html"

    @property
    def kinds(self) -> list[str]:
        """The different kinds, in order."""
        return list(dict.fromkeys(item.kind for item in self.items if item.kind))
