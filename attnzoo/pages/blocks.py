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
        tags: Words that filters can ask for.
    """

    title: str
    said: str
    pixels: NDArray[np.uint8]
    note: str = ""
    tags: Sequence[str] = ()
    template: ClassVar[str] = "picture.html"

    @property
    def url(self) -> str:
        """The pixels as a ``data:`` address."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "JPEG", quality=88)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
