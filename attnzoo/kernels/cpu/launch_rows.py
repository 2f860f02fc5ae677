"""Calls the kernels that split a map by its rows; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from attnzoo.kernels.cpu import launch


def split_rows(x: Tensor, keep: Tensor, copies: Sequence[Tensor]) -> None:
    """Fill each of R ``copies`` with the rows of ``x`` that ``keep`` (R, B, H), boolean, names, and zeros."""
    if x.numel():
        launch.run("split_rows", x, x.shape[2], len(copies), keep, x, _pointers(copies))


def split_rows_backward(gradients: Sequence[Tensor], keep: Tensor, dx: Tensor) -> None:
    """Fill ``dx`` with the sum of the R gradients, of each the rows that ``keep`` (R, B, H) names."""
    if dx.numel():
        launch.run("split_rows_backward", dx, dx.shape[2], len(gradients), keep, _pointers(gradients), dx)


def _pointers(maps: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(maps))(*(each.data_ptr() for each in maps))
