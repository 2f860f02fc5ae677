"""Call the kernels that split a map by its rows; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p

from torch import Tensor

from attnzoo.kernels.cpu import launch
from attnzoo.kernels.cpu.library import Map


class RowsCall(ctypes.Structure):
    """``AttnzooRows`` of split_rows.cpp."""

    _fields_ = (
        ("map", Map),
        *((name, c_int64) for name in ("height", "regions")),
        *((name, c_void_p) for name in ("keep", "whole", "parts")),
    )


def split_rows(x: Tensor, keep: Tensor, copies: Sequence[Tensor]) -> None:
    """Fill each of R ``copies`` with the rows of ``x`` for which the boolean ``keep`` (R, B, H) is true, else zeros."""
    _call("split_rows", x, keep, copies)


def split_rows_backward(gradients: Sequence[Tensor], keep: Tensor, dx: Tensor) -> None:
    """Fill ``dx`` with the sum of R gradients, each only in the rows for which ``keep`` (R, B, H) is true."""
    _call("split_rows_backward", dx, keep, gradients)


def _call(kernel: str, whole: Tensor, keep: Tensor, parts: Sequence[Tensor]) -> None:
    if whole.numel() == 0:
        return
    sizes = {"map": launch.map_of(whole), "height": whole.shape[2], "regions": len(parts)}
    table = (c_void_p * len(parts))(*(part.data_ptr() for part in parts))
    tensors = launch.pointers(keep=keep, whole=whole)
    launch.call(kernel, RowsCall(**sizes, **tensors, parts=ctypes.addressof(table)))
