"""Mean, maximum and number of ties over the rows or over the columns of a map, in one pass.

Pooling over the pixels reduces the rows of an NCHW map and the columns of a channels-last map; pooling over the
channels does the reverse. Ties, the elements that equal the maximum, are counted in the same pass: a greater value
resets them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton.rows import CHUNK, TILE, Rows, divided, power_of_two, tiles_of

LONGEST = 1024
"""Largest number of a row's elements in one tile."""
STEPS = 16
"""Number of float32 additions after which a partial sum is added to a float64 sum."""


@triton.jit
def take(total, high, ties, v, v_high, v_ties):
    """Add values to the running sums, maxima and numbers of ties."""
    ties = tl.where(v_high > high, v_ties, ties + tl.where(v_high == high, v_ties, 0.0))
    return total + v, tl.maximum(high, v_high, propagate_nan=tl.PropagateNan.ALL), ties


@triton.jit
def emptied(total, sums, step, STEPS: tl.constexpr):
    """After every ``STEPS``-th step, add the float32 sums to the float64 sums and reset them."""
    if step % STEPS == STEPS - 1:
        sums += total.to(tl.float64)
        total = tl.zeros_like(total)
    return total, sums


@triton.jit
def finish(total, high, ties, AXIS: tl.constexpr):
    """Reduce a tile along ``AXIS``; a maximum of NaN has no ties."""
    top = tl.max(high, AXIS, keep_dims=True)
    nan = tl.max((high != high).to(tl.int32), AXIS, keep_dims=True) > 0  # noqa: PLR0124 - true for NaN only
    top = tl.where(nan, float("nan"), top)
    count = tl.sum(tl.where(high == top, ties, 0.0), AXIS)
    return tl.sum(total, AXIS), tl.sum(top, AXIS), count


@triton.jit
def _moments_along_kernel(
    x_ptr, gate_ptr, mean_ptr, high_ptr, ties_ptr, rows, length_div, stride,
    DIV: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Reduce ``HEIGHT`` rows: mean and maximum at (image, row), ``stride`` between images; the gate is inner."""
    length = length_div * DIV
    blocks = tl.cdiv(rows, HEIGHT)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    m = (tl.program_id(0) % blocks) * HEIGHT + tl.arange(0, HEIGHT)
    total = tl.zeros([HEIGHT, WIDTH], tl.float32)
    high = tl.full([HEIGHT, WIDTH], float("-inf"), tl.float32)
    ties = tl.zeros([HEIGHT, WIDTH], tl.float32)
    if STEPS:
        sums = tl.zeros([HEIGHT, WIDTH], tl.float64)
    x_ptr += image * rows * length
    for start in range(0, length, WIDTH):
        n = start + tl.arange(0, WIDTH)
        mask = (m < rows)[:, None] & (n < length)[None, :]
        v = tl.load(x_ptr + m[:, None] * length + n[None, :], mask=mask, other=0.0).to(tl.float32)
        if gate_ptr is not None:
            v *= tl.load(gate_ptr + image * length + n, mask=n < length, other=0.0).to(tl.float32)[None, :]
        total, high, ties = take(total, high, ties, v, tl.where(mask, v, float("-inf")), mask.to(tl.float32))
        if STEPS:
            total, sums = emptied(total, sums, start // WIDTH, STEPS)
    if STEPS:
        total = total.to(tl.float64) + sums
    total, high, ties = finish(total, high, ties, 1)
    tl.store(mean_ptr + image * stride + m, total / length, mask=m < rows)
    if high_ptr is not None:
        tl.store(high_ptr + image * stride + m, high, mask=m < rows)
    if ties_ptr is not None:
        tl.store(ties_ptr + image * rows + m, ties, mask=m < rows)


@triton.jit
def _moments_down_kernel(
    x_ptr, gate_ptr, sum_ptr, high_ptr, ties_ptr, rows, length_div, count, stride, ties_stride,
    DIV: tl.constexpr, CHUNK: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Reduce ``CHUNK`` rows of ``WIDTH`` columns to (image, chunk, column), sums over ``count``; the gate is outer."""
    length = length_div * DIV
    across = tl.cdiv(length, WIDTH)
    chunks = tl.cdiv(rows, CHUNK)
    image = (tl.program_id(0) // (across * chunks)).to(tl.int64)
    chunk = tl.program_id(0) // across % chunks
    n = (tl.program_id(0) % across) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros([HEIGHT, WIDTH], tl.float32)
    high = tl.full([HEIGHT, WIDTH], float("-inf"), tl.float32)
    ties = tl.zeros([HEIGHT, WIDTH], tl.float32)
    x_ptr += image * rows * length
    for start in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, rows), HEIGHT):
        m = start + tl.arange(0, HEIGHT)
        mask = (m < rows)[:, None] & (n < length)[None, :]
        v = tl.load(x_ptr + m[:, None] * length + n[None, :], mask=mask, other=0.0).to(tl.float32)
        if gate_ptr is not None:
            v *= tl.load(gate_ptr + image * rows + m, mask=m < rows, other=0.0).to(tl.float32)[:, None]
        total, high, ties = take(total, high, ties, v, tl.where(mask, v, float("-inf")), mask.to(tl.float32))
    total, high, ties = finish(total, high, ties, 0)
    at = chunk * length + n
    tl.store(sum_ptr + image * stride + at, total / count, mask=n < length)
    if high_ptr is not None:
        tl.store(high_ptr + image * stride + at, high, mask=n < length)
    if ties_ptr is not None:
        tl.store(ties_ptr + image * ties_stride + at, ties, mask=n < length)


@triton.jit
def _moments_join_kernel(
    sum_ptr, high_parts_ptr, ties_parts_ptr, mean_ptr, high_ptr, ties_ptr, chunks, length_div, count, stride,
    DIV: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Combine the chunks (image, chunk, column) of ``_moments_down_kernel``."""
    length = length_div * DIV
    across = tl.cdiv(length, WIDTH)
    image = (tl.program_id(0) // across).to(tl.int64)
    n = (tl.program_id(0) % across) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros([HEIGHT, WIDTH], tl.float32)
    high = tl.full([HEIGHT, WIDTH], float("-inf"), tl.float32)
    ties = tl.zeros([HEIGHT, WIDTH], tl.float32)
    if STEPS:
        sums = tl.zeros([HEIGHT, WIDTH], tl.float64)
    for start in range(0, chunks, HEIGHT):
        k = start + tl.arange(0, HEIGHT)
        mask = (k < chunks)[:, None] & (n < length)[None, :]
        at = image * chunks * length + k[:, None] * length + n[None, :]
        v = tl.load(sum_ptr + at, mask=mask, other=0.0)
        v_high = high
        v_ties = ties
        if high_ptr is not None:
            v_high = tl.load(high_parts_ptr + at, mask=mask, other=float("-inf"))
        if ties_ptr is not None:
            v_ties = tl.load(ties_parts_ptr + at, mask=mask, other=0.0)
        total, high, ties = take(total, high, ties, v, v_high, v_ties)
        if STEPS:
            total, sums = emptied(total, sums, start // HEIGHT, STEPS)
    if STEPS:
        total = total.to(tl.float64) + sums
    total, high, ties = finish(total, high, ties, 0)
    tl.store(mean_ptr + image * stride + n, total / count, mask=n < length)
    if high_ptr is not None:
        tl.store(high_ptr + image * stride + n, high, mask=n < length)
    if ties_ptr is not None:
        tl.store(ties_ptr + image * length + n, ties, mask=n < length)


def along(x: Tensor, view: Rows, gate: Tensor | None, mean: Tensor, high: Tensor | None, ties: Tensor | None) -> None:
    """Fill ``mean``, ``high`` and ``ties`` (images, rows), the last of which is contiguous."""
    width = min(power_of_two(view.length), LONGEST)
    height = min(TILE // width, power_of_two(view.rows))
    grid = (view.images * triton.cdiv(view.rows, height),)
    length_div, divisor = divided(view.length)
    _moments_along_kernel[grid](
        x, gate, mean, high, ties, view.rows, length_div, mean.stride(0),
        DIV=divisor, HEIGHT=height, WIDTH=width, STEPS=_steps(view.length, width),
    )  # fmt: skip


def down(x: Tensor, view: Rows, gate: Tensor | None, mean: Tensor, high: Tensor | None, ties: Tensor | None) -> None:
    """Fill ``mean``, ``high`` and ``ties`` (images, length), the last of which is contiguous."""
    height, width, chunks, across = tiles_of(view)
    length_div, divisor = divided(view.length)
    grid = (view.images * chunks * across,)
    constants = {"DIV": divisor, "CHUNK": CHUNK, "HEIGHT": height, "WIDTH": width}
    if chunks == 1:
        strides = (mean.stride(0), view.length)
        _moments_down_kernel[grid](x, gate, mean, high, ties, view.rows, length_div, view.rows, *strides, **constants)
        return
    kinds = 1 if high is None else 2 if ties is None else 3
    parts = [*x.new_empty((kinds, view.images, chunks, view.length), dtype=torch.float32), None, None][:3]
    stride = chunks * view.length
    _moments_down_kernel[grid](x, gate, *parts, view.rows, length_div, 1, stride, stride, **constants)
    joined = min(power_of_two(chunks), TILE // width)
    _moments_join_kernel[(view.images * across,)](
        *parts, mean, high, ties, chunks, length_div, view.rows, mean.stride(0),
        DIV=divisor, HEIGHT=joined, WIDTH=width, STEPS=_steps(chunks, joined),
    )  # fmt: skip


def _steps(length: int, together: int) -> int:
    """Return ``STEPS`` if more additions than that are needed, else 0: then all sums are float32."""
    return STEPS if length > STEPS * together else 0
