"""Calls the kernel of 3x3 convolutions; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p

from torch import Tensor

from attnzoo.kernels.cpu import launch
from attnzoo.kernels.cpu.library import Map


class Winograd(ctypes.Structure):
    """``AttnzooWinograd`` of winograd.cpp."""

    _fields_ = (
        ("map", Map),
        *((name, c_int64) for name in ("height", "second", "out", "to_out", "to_in", "to_row", "to_column")),
        *((name, c_void_p) for name in ("x", "beside", "weight", "bias", "y")),
        ("turned", c_int32),
    )


def winograd(x: Tensor, beside: Tensor | None, weight: Tensor, turned: bool, bias: Tensor | None, y: Tensor) -> None:
    """Fill ``y`` (B, C', H, W) from maps in channels-last order and a weight (C', C, 3, 3) of any strides.

    A weight that is ``turned`` is taken as if it were flipped in both directions.
    """
    second = 0 if beside is None else beside.shape[1]
    strides = dict(zip(("to_out", "to_in", "to_row", "to_column"), weight.stride(), strict=True))
    tensors = launch.pointers(x=x, beside=beside, weight=weight, bias=bias, y=y)
    sizes = {"map": launch.map_of(x), "height": x.shape[2], "second": second, "out": y.shape[1]}
    launch.call("winograd", Winograd(**sizes, **strides, **tensors, turned=turned))
