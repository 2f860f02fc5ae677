"""Calls the kernel of 3x3 convolutions; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

from torch import Tensor

from attnzoo.kernels.cpu import launch


def winograd(x: Tensor, beside: Tensor | None, weight: Tensor, turned: bool, bias: Tensor | None, y: Tensor) -> None:
    """Fill ``y`` (B, C', H, W) from maps in channels-last order and a weight (C', C, 3, 3) of any strides.

    A weight that is ``turned`` is taken as if it were flipped in both directions.
    """
    second = 0 if beside is None else beside.shape[1]
    sizes = (x.shape[2], second, y.shape[1])
    launch.run("winograd", x, *sizes, x, beside, weight, *weight.stride(), turned, bias, y)
