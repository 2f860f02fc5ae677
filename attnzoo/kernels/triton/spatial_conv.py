"""The convolution of a spatial gate, from two planes to one, and its gradient, in float32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256
"""Pixels per program."""


@triton.jit
def _pixels(size, width, BLOCK: tl.constexpr):
    """Return image, offset, row and column of this program's pixels."""
    blocks = tl.cdiv(size, BLOCK)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    place = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    row = place // width
    return image, place, row, place - row * width


@triton.jit
def _spatial_conv_fwd_kernel(
    planes_ptr, weight_ptr, bias_ptr, out_ptr, height, width, SIZE: tl.constexpr, BLOCK: tl.constexpr
):
    size = height * width
    image, place, row, column = _pixels(size, width, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    if bias_ptr is not None:
        total += tl.load(bias_ptr).to(tl.float32)
    planes_ptr += image * 2 * size
    for i in range(SIZE):
        y = row + i - SIZE // 2
        for j in tl.static_range(SIZE):
            x = column + j - SIZE // 2
            mask = (place < size) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            tap = i * SIZE + j
            for plane in tl.static_range(2):
                v = tl.load(planes_ptr + plane * size + y * width + x, mask=mask, other=0.0)
                total += v * tl.load(weight_ptr + plane * SIZE * SIZE + tap)
    tl.store(out_ptr + image * size + place, total, mask=place < size)


@triton.jit
def _spatial_conv_bwd_kernel(
    planes_ptr, weight_ptr, d_out_ptr, d_planes_ptr, parts_ptr, height, width, SIZE: tl.constexpr, BLOCK: tl.constexpr
):
    """Each program writes its part of the weight's gradient, at (program, 2 * SIZE * SIZE)."""
    size = height * width
    image, place, row, column = _pixels(size, width, BLOCK)
    d_first = tl.zeros([BLOCK], tl.float32)
    d_second = tl.zeros([BLOCK], tl.float32)
    planes_ptr += image * 2 * size
    d_out_ptr += image * size
    parts_ptr += tl.program_id(0).to(tl.int64) * 2 * SIZE * SIZE
    own = tl.load(d_out_ptr + place, mask=place < size, other=0.0)
    for i in range(SIZE):
        for j in tl.static_range(SIZE):
            tap = i * SIZE + j
            y, x = row + i - SIZE // 2, column + j - SIZE // 2
            mask = (place < size) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            first = tl.load(planes_ptr + y * width + x, mask=mask, other=0.0)
            second = tl.load(planes_ptr + size + y * width + x, mask=mask, other=0.0)
            tl.store(parts_ptr + tap, tl.sum(tl.where(mask, own * first, 0.0)))
            tl.store(parts_ptr + SIZE * SIZE + tap, tl.sum(tl.where(mask, own * second, 0.0)))
            y, x = row - i + SIZE // 2, column - j + SIZE // 2
            mask = (place < size) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            d = tl.load(d_out_ptr + y * width + x, mask=mask, other=0.0)
            d_first += d * tl.load(weight_ptr + tap)
            d_second += d * tl.load(weight_ptr + SIZE * SIZE + tap)
    tl.store(d_planes_ptr + image * 2 * size + place, d_first, mask=place < size)
    tl.store(d_planes_ptr + image * 2 * size + size + place, d_second, mask=place < size)


def spatial_conv(planes: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Fill ``out`` (B, 1, H, W) with ``planes`` (B, 2, H, W) convolved by ``weight`` (1, 2, K, K), zero padded."""
    batch, _, height, width = planes.shape
    with torch.cuda.device_of(planes):
        _spatial_conv_fwd_kernel[(batch * triton.cdiv(height * width, BLOCK),)](
            planes, weight, bias, out, height, width, SIZE=weight.shape[-1], BLOCK=BLOCK
        )


def spatial_conv_backward(planes: Tensor, weight: Tensor, d_out: Tensor, d_planes: Tensor, d_weight: Tensor) -> None:
    """Fill ``d_planes`` and ``d_weight``."""
    batch, _, height, width = planes.shape
    programs = batch * triton.cdiv(height * width, BLOCK)
    parts = weight.new_empty((programs, *weight.shape))
    with torch.cuda.device_of(planes):
        _spatial_conv_bwd_kernel[(programs,)](
            planes, weight, d_out, d_planes, parts, height, width, SIZE=weight.shape[-1], BLOCK=BLOCK
        )
    torch.sum(parts, 0, out=d_weight)
