"""Calls the kernel of the IGC block on tensors. Maps are contiguous, of one dtype; all else is contiguous float32."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from attnzoo.kernels.cpu import launch
from attnzoo.kernels.cpu.launch import _check, _pointer


class Stage(ctypes.Structure):
    """``AttnzooStage`` of igc_block.cpp."""

    _fields_ = (
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("gain", c_void_p),
        ("offset", c_void_p),
        ("mean", c_void_p),
        ("variance", c_void_p),
        ("epsilon", c_double),
    )


class Block(ctypes.Structure):
    """``AttnzooIgc`` of igc_block.cpp."""

    _fields_ = (
        *((name, c_int64) for name in ("batch", "channels", "height", "width", "groups", "outputs")),
        *((name, c_int64) for name in ("given", "maps", "span")),
        ("plus", c_float),
        *((name, c_int32) for name in ("dense", "pool", "dtype", "threads")),
    )


def igc_block(
    x: Tensor,
    stages: Sequence[tuple[Sequence[Tensor | None], float]],
    groups: int,
    pool: bool,
    maps: Tensor | None,
    plus: float,
    gate: Tensor | None,
    y: Tensor,
    means: Tensor | None,
) -> None:
    """Fill ``y``, and ``means`` (B, C') with the averages of what ``y`` is pooled from.

    Args:
        x: (B, C'', H, W); the block's C channels are these over and over.
        stages: For each convolution weight, bias, and the norm's weight, bias, mean and variance; and its epsilon.
        groups: Groups of the first convolution.
        pool: Whether ``y`` (B, C', H, W) is halved.
        maps: (B, n, H, W); the channels are n + 1 spans, and those of the last n are multiplied by a map ``+ plus``.
            Of ``x`` that is given several times, each time is a span.
        plus: See ``maps``.
        gate: (B, C''), by which ``x`` is multiplied.
        y: The output.
        means: Where the averages go.
    """
    batch, given, height, width = x.shape
    channels, (outputs, depth) = len(stages[0][0][0]), stages[2][0][0].shape[:2]
    count = 0 if maps is None else maps.shape[1]
    block = Block(
        *(batch, channels, height, width, groups, outputs),
        *(given, count, min(given, channels // (count + 1)), plus),
        *(depth != channels, pool, launch.DTYPES[x.dtype], torch.get_num_threads()),
    )
    pointers = [Stage(*map(_pointer, tensors), epsilon) for tensors, epsilon in stages]
    three = (Stage * 3)(*pointers)
    tensors = map(_pointer, (x, maps, gate, y, means))
    _check(launch.kernels().igc_block(ctypes.byref(block), three, *tensors))
