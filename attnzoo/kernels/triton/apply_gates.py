"""y = relu(x * factor + shortcut), factor = blend * (channel * spatial + residual - 1) + 1, in one pass over the map.

And its gradient, in one pass as well. Whatever is not there is left out.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton.rows import CHUNK, TILE, Rows, divided, locate, rows_of, tiles_of, vector


@triton.jit
def _product(outer, inner):
    """Return the product of the gates that are there; one that is not is None."""
    if inner is None:
        gates = outer
    elif outer is None:
        gates = inner
    else:
        gates = outer * inner
    return gates


@triton.jit
def _factor(gates, blend_ptr, RESIDUAL: tl.constexpr):
    """Return what ``x`` is multiplied by."""
    if blend_ptr is not None:
        scale = tl.load(blend_ptr).to(tl.float32)
        return scale * gates + 1.0 if RESIDUAL else scale * (gates - 1.0) + 1.0
    return gates + 1.0 if RESIDUAL else gates


@triton.jit
def _apply_gates_fwd_kernel(
    x_ptr, outer_ptr, inner_ptr, blend_ptr, shortcut_ptr, y_ptr, rows, vectors, size_div,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr, VECTOR: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image, row, column, place, mask = locate(size_div * DIV, vectors, VECTOR, BLOCK)
    outer = None
    inner = None
    if outer_ptr is not None:
        outer = tl.load(outer_ptr + image * rows + row, mask=mask, other=0.0)
    if inner_ptr is not None:
        inner = tl.load(inner_ptr + image * vectors * VECTOR + column, mask=mask, other=0.0)
    at = image * size_div * DIV + place
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    y = x * _factor(_product(outer, inner), blend_ptr, RESIDUAL)
    if shortcut_ptr is not None:
        y += tl.load(shortcut_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        y = tl.where(y <= 0, 0.0, y)  # NaN stays
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _apply_gates_bwd_kernel(
    dy_ptr, y_ptr, x_ptr, outer_ptr, inner_ptr, blend_ptr, dx_ptr, d_shortcut_ptr, outer_parts_ptr, inner_parts_ptr,
    blend_parts_ptr, rows, length_div,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr, DIV: tl.constexpr,
    CHUNK: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One tile after the other down ``CHUNK`` rows; ``y`` is given where a shortcut was added before a ReLU.

    Sums of ``dy * x * other gate`` are left in parts: the outer gate's (image, place across, row), the inner gate's
    (image, chunk, column), and the blend's one a program.
    """
    length = length_div * DIV
    across = tl.cdiv(length, WIDTH)
    chunks = tl.cdiv(rows, CHUNK)
    image = (tl.program_id(0) // (across * chunks)).to(tl.int64)
    chunk = tl.program_id(0) // across % chunks
    beside = tl.program_id(0) % across
    n = beside * WIDTH + tl.arange(0, WIDTH)
    inner = None
    if inner_ptr is not None:
        inner = tl.load(inner_ptr + image * length + n, mask=n < length, other=0.0)[None, :]
    total = tl.zeros([HEIGHT, WIDTH], tl.float32)
    blend = tl.zeros([HEIGHT, WIDTH], tl.float32)
    for start in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, rows), HEIGHT):
        m = start + tl.arange(0, HEIGHT)
        if outer_ptr is not None:
            outer = tl.load(outer_ptr + image * rows + m, mask=m < rows, other=0.0)[:, None]
        else:
            outer = None
        mask = (m < rows)[:, None] & (n < length)[None, :]
        at = image * rows * length + m[:, None] * length + n[None, :]
        dy = tl.load(dy_ptr + at, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        gates = _product(outer, inner)
        factor = _factor(gates, blend_ptr, RESIDUAL)
        if y_ptr is not None:
            y = tl.load(y_ptr + at, mask=mask, other=0.0).to(tl.float32)
            dy = tl.where(y <= 0, 0.0, dy)
            tl.store(d_shortcut_ptr + at, dy.to(d_shortcut_ptr.dtype.element_ty), mask=mask)
        elif RELU:
            dy = tl.where(x * factor <= 0, 0.0, dy)
        dx = dy * factor
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        product = dy * x
        if outer_parts_ptr is not None:
            own = product if inner is None else product * inner
            tl.store(outer_parts_ptr + (image * across + beside) * rows + m, tl.sum(own, 1), mask=m < rows)
        if inner_parts_ptr is not None:
            total += product if outer is None else product * outer
        if blend_parts_ptr is not None:
            blend += tl.where(mask, product * gates if RESIDUAL else product * (gates - 1.0), 0.0)
    if inner_parts_ptr is not None:
        tl.store(inner_parts_ptr + (image * chunks + chunk) * length + n, tl.sum(total, 0), mask=n < length)
    if blend_parts_ptr is not None:
        tl.store(blend_parts_ptr + tl.program_id(0), tl.sum(blend))


def apply_gates(
    x: Tensor,
    channel: Tensor,
    spatial: Tensor | None,
    blend: Tensor | None,
    residual: bool,
    shortcut: Tensor | None,
    relu: bool,
    y: Tensor,
) -> None:
    """Fill ``y`` with ``[relu](x * factor [+ shortcut])``; channel is (B, C), spatial (B, 1, H, W)."""
    view = rows_of(x)
    width = vector(view, x)
    size = view.rows * view.length
    size_div, divisor = divided(size)
    with torch.cuda.device_of(x):
        _apply_gates_fwd_kernel[(view.images * triton.cdiv(size, TILE),)](
            x, *_turned(view, channel, spatial), blend, shortcut, y, view.rows, view.length // width, size_div,
            RESIDUAL=residual, RELU=relu, VECTOR=width, DIV=divisor, BLOCK=TILE,
        )  # fmt: skip


def apply_gates_backward(
    dy: Tensor,
    x: Tensor,
    channel: Tensor,
    spatial: Tensor | None,
    blend: Tensor | None,
    residual: bool,
    y: Tensor | None,
    relu: bool,
    dx: Tensor,
    d_channel: Tensor,
    d_spatial: Tensor | None,
    sums: Tensor | None,
    d_shortcut: Tensor | None,
) -> None:
    """Fill ``dx``; ``d_channel`` (B, C) and ``d_spatial`` (B, 1, H, W) before the blend is applied.

    Where there is a spatial gate, ``sums`` (B, C) add up to the blend's gradient. ``y`` and ``d_shortcut``, which is dy
    as it comes through the ReLU, are given where a shortcut was added before one.
    """
    view = rows_of(x)
    height, width, chunks, across = tiles_of(view)
    length_div, divisor = divided(view.length)
    programs = view.images * chunks * across
    channels = d_channel.new_empty((view.images, chunks if view.last else across, x.shape[1]))
    pixels = blends = None
    if d_spatial is not None:
        pixels = d_spatial.new_empty((view.images, across if view.last else chunks, x.shape[2] * x.shape[3]))
    if sums is not None:
        blends = sums.new_empty(programs)
    with torch.cuda.device_of(x):
        _apply_gates_bwd_kernel[(programs,)](
            dy, y, x, *_turned(view, channel, spatial), blend, dx, d_shortcut, *_turned(view, channels, pixels), blends,
            view.rows, length_div,
            RESIDUAL=residual, RELU=relu, DIV=divisor, CHUNK=CHUNK, HEIGHT=height, WIDTH=width,
        )  # fmt: skip
    torch.sum(channels, 1, out=d_channel)
    if d_spatial is not None and pixels is not None:
        torch.sum(pixels, 1, out=d_spatial.flatten(1))
    if sums is not None and blends is not None:
        sums.zero_()[:1, :1] = blends.sum()


def _turned(view: Rows, channel: Tensor | None, spatial: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return what belongs to channels and to pixels as outer and inner."""
    return (spatial, channel) if view.last else (channel, spatial)
