"""Average and maximum of each pixel over its gated channels, without writing ``x * gate``; and their gradient."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton import moments
from attnzoo.kernels.triton.rows import CHUNK, divided, rows_of, tiles_of


@triton.jit
def _terms(d_planes_ptr, planes_ptr, ties_ptr, image, pixel, pixels, channels):
    """Return the terms of some pixels' gradient: ``dL/d(gated x) = shift + [gated x == high] * share``."""
    mask = pixel < pixels
    mean_at = image * 2 * pixels + pixel
    high_at = mean_at + pixels
    ties = tl.load(ties_ptr + image * pixels + pixel, mask=mask, other=1.0)
    shift = tl.load(d_planes_ptr + mean_at, mask=mask, other=0.0) / channels
    share = tl.load(d_planes_ptr + high_at, mask=mask, other=0.0) / ties
    high = tl.load(planes_ptr + high_at, mask=mask, other=0.0)
    shift = tl.where(ties == 0, float("nan"), shift)  # the maximum is NaN, as is amax's gradient
    return shift, share, high


@triton.jit
def _squeeze_channels_bwd_kernel(
    x_ptr, carried_ptr, gate_ptr, planes_ptr, ties_ptr, d_planes_ptr, dx_ptr, parts_ptr, rows, length_div,
    LAST: tl.constexpr, DIV: tl.constexpr, CHUNK: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Go through ``CHUNK`` rows, which are pixels if ``LAST``, else channels, tile by tile.

    ``dx = carried + gate * inner`` with the terms' ``inner``. The gate's gradient, the sum of ``x * inner`` over the
    pixels, is left in parts: (image, chunk, channel) if ``LAST``, else (image, place across, channel).
    """
    length = length_div * DIV
    across = tl.cdiv(length, WIDTH)
    chunks = tl.cdiv(rows, CHUNK)
    image = (tl.program_id(0) // (across * chunks)).to(tl.int64)
    chunk = tl.program_id(0) // across % chunks
    tile = tl.program_id(0) % across
    n = tile * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros([HEIGHT, WIDTH], tl.float32)
    if LAST:
        gate = tl.load(gate_ptr + image * length + n, mask=n < length, other=0.0)[None, :]
    else:
        shift, share, high = _terms(d_planes_ptr, planes_ptr, ties_ptr, image, n, length, rows)
        shift, share, high = shift[None, :], share[None, :], high[None, :]
    for start in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, rows), HEIGHT):
        m = start + tl.arange(0, HEIGHT)
        mask = (m < rows)[:, None] & (n < length)[None, :]
        at = image * rows * length + m[:, None] * length + n[None, :]
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        if LAST:
            shift, share, high = _terms(d_planes_ptr, planes_ptr, ties_ptr, image, m, rows, length)
            shift, share, high = shift[:, None], share[:, None], high[:, None]
        else:
            gate = tl.load(gate_ptr + image * rows + m, mask=m < rows, other=0.0)[:, None]
        inner = shift + tl.where(x * gate == high, share, 0.0)
        dx = inner * gate
        if carried_ptr is not None:
            dx += tl.load(carried_ptr + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        if LAST:
            total += x * inner
        else:
            tl.store(parts_ptr + (image * across + tile) * rows + m, tl.sum(x * inner, 1), mask=m < rows)
    if LAST:
        tl.store(parts_ptr + (image * chunks + chunk) * length + n, tl.sum(total, 0), mask=n < length)


def squeeze_channels(x: Tensor, gate: Tensor, planes: Tensor, ties: Tensor | None) -> None:
    """Fill ``planes`` (B, 2, H, W) from ``x`` and ``gate`` (B, C), and ``ties`` (B, H, W)."""
    view = rows_of(x)
    kernel = moments.along if view.last else moments.down
    flat = planes.flatten(2)
    with torch.cuda.device_of(x):
        kernel(x, view, gate, flat[:, 0], flat[:, 1], ties)


def squeeze_channels_backward(
    x: Tensor,
    carried: Tensor | None,
    gate: Tensor,
    planes: Tensor,
    ties: Tensor,
    d_planes: Tensor,
    dx: Tensor,
    d_gate: Tensor,
) -> None:
    """Fill ``dx``, to which ``carried`` is added, and ``d_gate`` (B, C)."""
    view = rows_of(x)
    height, width, chunks, across = tiles_of(view)
    length_div, divisor = divided(view.length)
    parts = d_gate.new_empty((view.images, chunks if view.last else across, d_gate.shape[1]))
    with torch.cuda.device_of(x):
        _squeeze_channels_bwd_kernel[(view.images * chunks * across,)](
            x, carried, gate, planes, ties, d_planes, dx, parts, view.rows, length_div,
            LAST=view.last, DIV=divisor, CHUNK=CHUNK, HEIGHT=height, WIDTH=width,
            maxnreg=128,  # without a bound ptxas aims at 72 registers for sm_90 and spills two of them
        )  # fmt: skip
    torch.sum(parts, 1, out=d_gate)
