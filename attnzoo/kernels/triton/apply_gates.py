"""y = relu(x * (b(channel) * b(spatial) + residual) + shortcut), in one pass over the map; b blends a gate with 1.

``b(g) = blend * g + 1 - blend``; with a blend the residual is multiplied by it. The gradient takes one pass as well.
Optional inputs are None.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton.rows import CHUNK, TILE, Rows, divided, locate, rows_of, tiles_of, vector


@triton.jit
def _product(outer, inner):
    """Return the product of the two gates; either may be None."""
    if inner is None:
        gates = outer
    elif outer is None:
        gates = inner
    else:
        gates = outer * inner
    return gates


@triton.jit
def _blended(gate, blend_ptr):
    """Return the blended gate: exactly 1 at a blend of 0, exactly ``gate`` at a blend of 1."""
    if blend_ptr is not None:
        share = tl.load(blend_ptr).to(tl.float32)
        gate = share * gate + (1.0 - share)
    return gate


@triton.jit
def _factor(gates, blend_ptr, RESIDUAL: tl.constexpr):
    """Return the factor of ``x`` from the product of the blended gates."""
    if RESIDUAL:
        gates = gates + 1.0 if blend_ptr is None else gates + tl.load(blend_ptr).to(tl.float32)
    return gates


@triton.jit
def _apply_gates_fwd_kernel(
    x_ptr, outer_ptr, inner_ptr, blend_ptr, shortcut_ptr, y_ptr, rows, vectors, size_div,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr, VECTOR: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image, row, column, place, mask = locate(size_div * DIV, vectors, VECTOR, BLOCK)
    outer = None
    inner = None
    if outer_ptr is not None:
        outer = _blended(tl.load(outer_ptr + image * rows + row, mask=mask, other=0.0), blend_ptr)
    if inner_ptr is not None:
        inner = _blended(tl.load(inner_ptr + image * vectors * VECTOR + column, mask=mask, other=0.0), blend_ptr)
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
    rows, length_div,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr, DIV: tl.constexpr,
    CHUNK: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Go through ``CHUNK`` rows tile by tile; ``y`` is given if a shortcut was added before a ReLU.

    Sums of ``dy * x * other gate``, as that is blended, are left in parts: the outer gate's (image, place across, row)
    and the inner gate's (image, chunk, column).
    """
    length = length_div * DIV
    across = tl.cdiv(length, WIDTH)
    chunks = tl.cdiv(rows, CHUNK)
    image = (tl.program_id(0) // (across * chunks)).to(tl.int64)
    chunk = tl.program_id(0) // across % chunks
    tile = tl.program_id(0) % across
    n = tile * WIDTH + tl.arange(0, WIDTH)
    inner = None
    if inner_ptr is not None:
        inner = _blended(tl.load(inner_ptr + image * length + n, mask=n < length, other=0.0), blend_ptr)[None, :]
    total = tl.zeros([HEIGHT, WIDTH], tl.float32)
    for start in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, rows), HEIGHT):
        m = start + tl.arange(0, HEIGHT)
        if outer_ptr is not None:
            outer = _blended(tl.load(outer_ptr + image * rows + m, mask=m < rows, other=0.0), blend_ptr)[:, None]
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
            d_outer = product if inner is None else product * inner
            tl.store(outer_parts_ptr + (image * across + tile) * rows + m, tl.sum(d_outer, 1), mask=m < rows)
        if inner_parts_ptr is not None:
            total += product if outer is None else product * outer
    if inner_parts_ptr is not None:
        tl.store(inner_parts_ptr + (image * chunks + chunk) * length + n, tl.sum(total, 0), mask=n < length)


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
    """Fill ``y``, see the module's docstring; channel is (B, C), spatial (B, 1, H, W)."""
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
    d_shortcut: Tensor | None,
) -> None:
    """Fill ``dx``, and the gradients ``d_channel`` (B, C) and ``d_spatial`` (B, 1, H, W) of the blended gates.

    ``y`` and ``d_shortcut``, which is dy as it comes through the ReLU, are given where a shortcut was added before one.
    """
    view = rows_of(x)
    height, width, chunks, across = tiles_of(view)
    length_div, divisor = divided(view.length)
    programs = view.images * chunks * across
    channels = d_channel.new_empty((view.images, chunks if view.last else across, x.shape[1]))
    pixels = None
    if d_spatial is not None:
        pixels = d_spatial.new_empty((view.images, across if view.last else chunks, x.shape[2] * x.shape[3]))
    with torch.cuda.device_of(x):
        _apply_gates_bwd_kernel[(programs,)](
            dy, y, x, *_turned(view, channel, spatial), blend, dx, d_shortcut, *_turned(view, channels, pixels),
            view.rows, length_div,
            RESIDUAL=residual, RELU=relu, DIV=divisor, CHUNK=CHUNK, HEIGHT=height, WIDTH=width,
        )  # fmt: skip
    torch.sum(channels, 1, out=d_channel)
    if d_spatial is not None and pixels is not None:
        torch.sum(pixels, 1, out=d_spatial.flatten(1))


def _turned(view: Rows, channel: Tensor | None, spatial: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the channel and the spatial tensor as (outer, inner)."""
    return (spatial, channel) if view.last else (channel, spatial)
