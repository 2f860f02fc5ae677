"""A map as the kernels read it: each image has M rows of N elements that are adjacent in memory.

The rows of an NCHW map are its channels, those of a channels-last map its pixels. A tensor with one number per row is
called outer, one with a number per element of a row inner: for an NCHW map the channel gate is outer and the spatial
gate inner, for a channels-last map the reverse. So kernels need not distinguish the layouts.

Triton widens an access to 16 bytes if it can prove that the address is a multiple of 16. It can for products with
constants, so lengths are passed as (length // DIV, DIV): ``DIV`` is a compile-time constant, the greatest power of two
up to 16 that divides the length.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.layout import LARGEST_IMAGE, channels_last

TILE = 2048
"""Elements per tile: 16 for each of a program's 128 threads."""
COLUMNS, CHUNK = 128, 128
"""Largest width of a tile; number of rows that one program sums over."""


class Rows(NamedTuple):
    """The shape of a map as images of rows; see the module's docstring."""

    images: int
    rows: int
    length: int
    last: bool
    """Whether the map is channels-last: the rows are pixels."""


class Tiles(NamedTuple):
    """The division of an image into tiles of ``height`` x ``width`` by a kernel that sums over the rows."""

    height: int
    width: int
    chunks: int
    """Number of programs along the rows' axis, each with ``CHUNK`` rows."""
    across: int
    """Number of programs along a row."""


def rows_of(x: Tensor) -> Rows:
    """Return a contiguous map (B, C, H, W) as images of rows.

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
    """Return the division of an image by a kernel that sums over the rows."""
    width = min(power_of_two(view.length), COLUMNS)
    height = min(TILE // width, power_of_two(view.rows), CHUNK)
    return Tiles(height, width, triton.cdiv(view.rows, CHUNK), triton.cdiv(view.length, width))


def power_of_two(length: int) -> int:
    """Return the smallest power of two that is at least ``length``."""
    return 1 << (length - 1).bit_length()


def divided(length: int) -> tuple[int, int]:
    """Return ``length`` as (length // DIV, DIV)."""
    divisor = math.gcd(length, 16)
    return length // divisor, divisor


def vector(view: Rows, x: Tensor) -> int:
    """Return the number of elements in 16 bytes, or 1 if it does not divide the length of a row."""
    width = 16 // x.element_size()
    return width if view.length % width == 0 else 1


@triton.jit
def locate(size, vectors, VECTOR: tl.constexpr, BLOCK: tl.constexpr):
    """Return image, row, column and offset in the image of this program's elements, and the mask of valid vectors.

    The program takes ``BLOCK`` consecutive elements of an image of ``size`` elements as (BLOCK / VECTOR, VECTOR); a row
    has ``vectors`` times VECTOR elements. So there is one division per vector. Row and mask are (BLOCK / VECTOR, 1).
    """
    blocks = tl.cdiv(size, BLOCK)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    v = (tl.program_id(0) % blocks) * (BLOCK // VECTOR) + tl.arange(0, BLOCK // VECTOR)
    row = v // vectors
    lane = tl.arange(0, VECTOR)[None, :]
    column = (v - row * vectors)[:, None] * VECTOR + lane
    place = v[:, None] * VECTOR + lane
    return image, row[:, None], column, place, (v * VECTOR < size)[:, None]
