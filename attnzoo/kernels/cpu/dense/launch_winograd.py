"""Call the kernel of Winograd's 3x3 convolution; see :mod:`attnzoo.kernels.cpu.launch`."""

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


def winograd(x: Tensor, second: Tensor | None, weight: Tensor, turned: bool, bias: Tensor | None, y: Tensor) -> None:
    """Write the 3x3 convolution of ``[x : second]`` into ``y`` (B, C', H, W).

    Args:
        x: Map in channels-last order.
        second: Map to concatenate behind the channels of ``x``, in channels-last order, or None.
        weight: (C', C, 3, 3), of any strides.
        turned: Whether the weight is used as if flipped vertically and horizontally.
        bias: (C',), contiguous, or None.
        y: Output in channels-last order.
    """
    channels = 0 if second is None else second.shape[1]
    strides = dict(zip(("to_out", "to_in", "to_row", "to_column"), weight.stride(), strict=True))
    tensors = launch.pointers(x=x, beside=second, weight=weight, bias=bias, y=y)
    sizes = {"map": launch.map_of(x), "height": x.shape[2], "second": channels, "out": y.shape[1]}
    launch.call("winograd", Winograd(**sizes, **strides, **tensors, turned=turned))
