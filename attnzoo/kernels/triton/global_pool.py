"""Average and maximum of each channel over its pixels, and their gradient, in one pass each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from attnzoo.kernels.triton import moments
from attnzoo.kernels.triton.rows import TILE, divided, locate, rows_of, vector


@triton.jit
def _global_pool_bwd_kernel(
    x_ptr, carried_ptr, d_mean_ptr, d_high_ptr, high_ptr, ties_ptr, dx_ptr, rows, vectors, size_div,
    LAST: tl.constexpr, VECTOR: tl.constexpr, DIV: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``dx = carried + d_mean / pixels + [x == high] * d_high / ties``; channels are columns if ``LAST``."""
    image, row, column, place, mask = locate(size_div * DIV, vectors, VECTOR, BLOCK)
    at = image * size_div * DIV + place
    if LAST:
        channel, pixels = image * vectors * VECTOR + column, rows
    else:
        channel, pixels = image * rows + row, vectors * VECTOR
    dx = tl.load(d_mean_ptr + channel, mask=mask, other=0.0) / pixels
    if x_ptr is not None:
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        ties = tl.load(ties_ptr + channel, mask=mask, other=1.0)
        share = tl.load(d_high_ptr + channel, mask=mask, other=0.0) / ties
        dx += tl.where(x == tl.load(high_ptr + channel, mask=mask, other=0.0), share, 0.0)
        dx = tl.where(ties == 0, float("nan"), dx)  # the maximum is NaN, as is amax's gradient
    if carried_ptr is not None:
        dx += tl.load(carried_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(dx_ptr + at, tl.broadcast_to(dx, place.shape).to(dx_ptr.dtype.element_ty), mask=mask)


def global_pool(x: Tensor, pooled: Tensor, ties: Tensor | None) -> None:
    """Fill ``pooled`` (1, B, C) with averages, or (2, B, C) with averages and maxima, and ``ties`` (B, C)."""
    view = rows_of(x)
    kernel = moments.down if view.last else moments.along
    with torch.cuda.device_of(x):
        kernel(x, view, None, pooled[0], pooled[1] if len(pooled) == 2 else None, ties)


def global_pool_backward(
    x: Tensor, carried: Tensor | None, d_pooled: Tensor, pooled: Tensor, ties: Tensor | None, dx: Tensor
) -> None:
    """Fill ``dx`` with the gradient of the averages and, if ``ties`` is given, of the maxima, plus ``carried``."""
    view = rows_of(x)
    width = vector(view, x)
    size_div, divisor = divided(view.rows * view.length)
    high = (None, None) if ties is None else (d_pooled[1], pooled[1])
    with torch.cuda.device_of(x):
        _global_pool_bwd_kernel[(view.images * triton.cdiv(view.rows * view.length, TILE),)](
            None if ties is None else x, carried, d_pooled[0], *high, ties, dx,
            view.rows, view.length // width, size_div, LAST=view.last, VECTOR=width, DIV=divisor, BLOCK=TILE,
        )  # fmt: skip
