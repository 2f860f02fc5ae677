"""How the kernels see a map: images of M rows of N neighbours in memory, whatever the layout.

The rows of an NCHW map are its channels, those of a channels-last map its pixels. What is one number for each row (of
an image) is called outer, what is one for each place in a row inner: of an NCHW map the channel gate is the outer and
the spatial gate the inner one, of a channels-last map it is the other way round. So no kernel knows of layouts.

Triton widens an access to 16 bytes if it can prove that addresses are multiples of that. It proves it of products with
constants, so lengths come as (length // DIV, DIV): ``DIV`` is a constant, the greatest power of two up to 16 that
divides the length.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.layout import LARGEST_IMAGE, channels_last

TILE = 2048
"""Elements that a program of 128 threads has in hand at once, 16 each."""
COLUMNS, CHUNK = 128, 128
"""Greatest width of a tile, and how many rows a program walks down when it sums over rows."""


class Rows(NamedTuple):
    """A map as the kernels see it."""

    images: int
    rows: int
    length: int
    last: bool
    """Whether the rows are pixels."""


class Tiles(NamedTuple):
    """How a kernel that walks down the rows divides an image: tiles of ``height`` x ``width``."""

    height: int
    width: int
    chunks: int
    """Programs below each other, each with ``CHUNK`` rows."""
    across: int
    """Programs beside each other."""


def rows_of(x: Tensor) -> Rows:
    """Return how the kernels see the dense map ``x``.

    Raises:
        ValueError: If an image has more elements than ``LARGEST_IMAGE``.
    """
    batch, channels, height, width = x.shape
    if channels * height * width > LARGEST_IMAGE:
        raise ValueError(f"x must have at most {LARGEST_IMAGE} elements in an image, got {tuple(x.shape)}")
    if channels_last(x):
        return Rows(batch, height * width, channels, True)
    return Rows(batch, channels, height * width, False)


def tiles_of(view: Rows) -> Tiles:
    """Return how a kernel that walks down the rows divides an image."""
    width = min(power_of_two(view.length), COLUMNS)
    height = min(TILE // width, power_of_two(view.rows), CHUNK)
    return Tiles(height, width, triton.cdiv(view.rows, CHUNK), triton.cdiv(view.length, width))


def power_of_two(length: int) -> int:
    """Return the least power of two that is not below ``length``."""
    return 1 << (length - 1).bit_length()


def divided(length: int) -> tuple[int, int]:
    """Return ``length`` as (length // DIV, DIV)."""
    divisor = math.gcd(length, 16)
    return length // divisor, divisor


def vector(view: Rows, x: Tensor) -> int:
    """Return how many elements of a row make 16 bytes, or 1 where rows do not consist of so many."""
    width = 16 // x.element_size()
    return width if view.length % width == 0 else 1


@triton.jit
def locate(size, vectors, VECTOR: tl.constexpr, BLOCK: tl.constexpr):
    """Return image, row, column and place in the image of the elements of this program, and which vectors exist.

    The program takes ``BLOCK`` elements of an image of ``size``, one after the other in memory, as (BLOCK / VECTOR,
    VECTOR); a row consists of ``vectors`` times VECTOR elements. So there is one division for a vector, and even rows
    whose length is odd are read in wide accesses. Row and mask are (BLOCK / VECTOR, 1).
    """
    blocks = tl.cdiv(size, BLOCK)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    v = (tl.program_id(0) % blocks) * (BLOCK // VECTOR) + tl.arange(0, BLOCK // VECTOR)
    row = v // vectors
    lane = tl.arange(0, VECTOR)[None, :]
    column = (v - row * vectors)[:, None] * VECTOR + lane
    place = v[:, None] * VECTOR + lane
    return image, row[:, None], column, place, (v * VECTOR < size)[:, None]
