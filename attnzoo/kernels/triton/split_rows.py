"""Copies of a map that each keep some rows of pixels and are zero elsewhere; and their gradient.

A kernel writes up to four copies; for more, it is launched again for every four.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.layout import channels_last
from attnzoo.kernels.triton.rows import TILE, divided, locate, rows_of, vector

AT_ONCE = 4


@triton.jit
def _keep(x, keep_ptr, copy_ptr, at, mask):
    """Write one copy."""
    kept = tl.load(keep_ptr, mask=mask, other=0) != 0
    tl.store(copy_ptr + at, tl.where(kept, x, 0.0).to(copy_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _kept(keep_ptr, gradient_ptr, at, mask, VECTOR: tl.constexpr):
    """Return the gradient of one copy in the rows that it kept, else 0; a scalar access loads unmasked rows too."""
    kept = tl.load(keep_ptr, mask=mask, other=0) != 0
    gradient = tl.load(gradient_ptr + at, mask=mask & kept if VECTOR > 1 else mask, other=0.0).to(tl.float32)
    return tl.where(kept, gradient, 0.0)


@triton.jit
def _split_rows_fwd_kernel(
    x_ptr, keep_ptr, first_ptr, second_ptr, third_ptr, fourth_ptr, table, height, vectors, size_div,
    VECTOR: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write up to four copies. A row is a line of pixels, in NCHW of one channel; ``keep`` has ``table`` per copy."""
    image, row, _, place, mask = locate(size_div * DIV, vectors, VECTOR, BLOCK)
    at = image * size_div * DIV + place
    keep_ptr += image * height + row % height
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    _keep(x, keep_ptr, first_ptr, at, mask)
    if second_ptr is not None:
        _keep(x, keep_ptr + table, second_ptr, at, mask)
    if third_ptr is not None:
        _keep(x, keep_ptr + 2 * table, third_ptr, at, mask)
    if fourth_ptr is not None:
        _keep(x, keep_ptr + 3 * table, fourth_ptr, at, mask)


@triton.jit
def _split_rows_bwd_kernel(
    carried_ptr, keep_ptr, first_ptr, second_ptr, third_ptr, fourth_ptr, dx_ptr, table, height, vectors, size_div,
    VECTOR: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of up to four copies, plus ``carried``, the sum of previous ones, if given."""
    image, row, _, place, mask = locate(size_div * DIV, vectors, VECTOR, BLOCK)
    at = image * size_div * DIV + place
    keep_ptr += image * height + row % height
    dx = _kept(keep_ptr, first_ptr, at, mask, VECTOR)
    if second_ptr is not None:
        dx += _kept(keep_ptr + table, second_ptr, at, mask, VECTOR)
    if third_ptr is not None:
        dx += _kept(keep_ptr + 2 * table, third_ptr, at, mask, VECTOR)
    if fourth_ptr is not None:
        dx += _kept(keep_ptr + 3 * table, fourth_ptr, at, mask, VECTOR)
    if carried_ptr is not None:
        dx += tl.load(carried_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def split_rows(x: Tensor, keep: Tensor, copies: Sequence[Tensor]) -> None:
    """Fill each copy (B, C, H, W) with the rows of ``x`` for which ``keep`` (R, B, H) is true, else zeros."""
    grid, sizes, constants = _lines(x)
    with torch.cuda.device_of(x):
        for some, table in _by_four(copies, keep):
            _split_rows_fwd_kernel[grid](x, table, *some, *sizes, **constants)


def split_rows_backward(gradients: Sequence[Tensor], keep: Tensor, dx: Tensor) -> None:
    """Fill ``dx`` with the sum of the gradients, each only in the rows that its copy kept."""
    grid, sizes, constants = _lines(dx)
    carried = None
    if not gradients:
        dx.zero_()
    with torch.cuda.device_of(dx):
        for some, table in _by_four(gradients, keep):
            _split_rows_bwd_kernel[grid](carried, table, *some, dx, *sizes, **constants)
            carried = dx


def _by_four(maps: Sequence[Tensor], keep: Tensor) -> Iterator[tuple[list[Tensor | None], Tensor]]:
    for start in range(0, len(maps), AT_ONCE):
        some: list[Tensor | None] = list(maps[start : start + AT_ONCE])
        yield some + [None] * (AT_ONCE - len(some)), keep[start : start + AT_ONCE].view(torch.uint8)


def _lines(x: Tensor) -> tuple[tuple[int], tuple[int, ...], dict[str, int]]:
    """Return the grid, the lengths and the constants for a kernel whose rows are lines of pixels."""
    batch, channels, height, width = x.shape
    view = rows_of(x)._replace(length=width * channels if channels_last(x) else width)
    lanes = vector(view, x)
    size_div, divisor = divided(channels * height * width)
    sizes = (batch * height, height, view.length // lanes, size_div)
    grid = (batch * triton.cdiv(channels * height * width, TILE),)
    return grid, sizes, {"VECTOR": lanes, "DIV": divisor, "BLOCK": TILE}
