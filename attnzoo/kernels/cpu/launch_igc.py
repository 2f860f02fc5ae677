"""Calls the kernel of the IGC block on tensors. Maps are contiguous, of one dtype; all else is contiguous float32."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import DTYPES, _check, _pointer
from attnzoo.kernels.cpu.library import kernels


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
    weights: Sequence[Tensor],
    norms: Sequence[Tensor | None],
    epsilons: Sequence[float],
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
        weights: Of the three convolutions.
        norms: Behind each of them: its bias, then the norm's weight, bias, mean and variance.
        epsilons: The norms'.
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
    channels, (outputs, depth) = len(weights[0]), weights[2].shape[:2]
    count = 0 if maps is None else maps.shape[1]
    block = Block(
        *(batch, channels, height, width, groups, outputs),
        *(given, count, min(given, channels // (count + 1)), plus),
        *(depth != channels, pool, DTYPES[x.dtype], torch.get_num_threads()),
    )
    stages = (Stage * 3)()
    for k, weight in enumerate(weights):
        stages[k] = Stage(weight.data_ptr(), *map(_pointer, norms[5 * k : 5 * k + 5]), epsilons[k])
    tensors = map(_pointer, (x, maps, gate, y, means))
    _check(kernels().igc_block(ctypes.byref(block), stages, *tensors))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool, y: Tensor) -> None:
    """Fill ``y`` (N, C') with ``x`` (N, C) times ``weight`` (C', C), plus ``bias`` (C',)."""
    sizes = (*x.shape, len(weight), relu, torch.get_num_threads())
    _check(kernels().linear(*sizes, *map(_pointer, (x, weight, bias, y))))
