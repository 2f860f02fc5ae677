"""Calls the kernel of the IGC block on tensors. Maps are contiguous, of one dtype; all else is contiguous float32."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p
from typing import NamedTuple

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


class Maps(ctypes.Structure):
    """``AttnzooIgcMaps`` of igc_block.cpp."""

    _fields_ = tuple((name, c_void_p) for name in ("x", "maps", "gate", "y", "means"))


class Link(NamedTuple):
    """One block of a chain.

    Attributes:
        weights: Of the three convolutions.
        norms: Behind each of them: its bias, then the norm's weight, bias, mean and variance.
        epsilons: The norms'.
        groups: Groups of the first convolution.
        pool: Whether ``y`` (B, C', H, W) is halved.
        maps: (B, n, H, W); the channels are n + 1 spans, and those of the last n are multiplied by a map ``+ plus``.
            Of ``x`` that is given several times, each time is a span.
        plus: See ``maps``.
        gate: (B, C''), by which the block's input is multiplied.
        y: The output.
        means: Where averages (B, C') of what ``y`` is pooled from go.
    """

    weights: Sequence[Tensor]
    norms: Sequence[Tensor | None]
    epsilons: Sequence[float]
    groups: int
    pool: bool
    maps: Tensor | None
    plus: float
    gate: Tensor | None
    y: Tensor
    means: Tensor | None


def igc_blocks(x: Tensor, links: Sequence[Link]) -> None:
    """Fill the outputs of blocks, each of which reads the one before; the first reads ``x`` (B, C'', H, W).

    A block's C channels are those of what it reads over and over.
    """
    count, threads = len(links), torch.get_num_threads()
    blocks, stages, maps = (Block * count)(), (Stage * (3 * count))(), (Maps * count)()
    read = x
    for i, link in enumerate(links):
        batch, given, height, width = read.shape
        channels, (outputs, depth) = len(link.weights[0]), link.weights[2].shape[:2]
        guides = 0 if link.maps is None else link.maps.shape[1]
        blocks[i] = Block(
            *(batch, channels, height, width, link.groups, outputs),
            *(given, guides, min(given, channels // (guides + 1)), link.plus),
            *(depth != channels, link.pool, DTYPES[x.dtype], threads),
        )
        norms = [_pointer(t) for t in link.norms]
        for k, weight in enumerate(link.weights):
            stages[3 * i + k] = Stage(weight.data_ptr(), *norms[5 * k : 5 * k + 5], link.epsilons[k])
        maps[i] = Maps(*map(_pointer, (read, link.maps, link.gate, link.y, link.means)))
        read = link.y
    _check(kernels().igc_block(count, blocks, stages, maps))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool, y: Tensor) -> None:
    """Fill ``y`` (N, C') with ``x`` (N, C) times ``weight`` (C', C), plus ``bias`` (C',)."""
    sizes = (*x.shape, len(weight), relu, torch.get_num_threads())
    _check(kernels().linear(*sizes, *map(_pointer, (x, weight, bias, y))))
