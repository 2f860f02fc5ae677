"""Calls the kernel of 3x3 convolutions; see :mod:`attnzoo.kernels.cpu.launch`."""

from __future__ import annotations

from torch import Tensor

from attnzoo.kernels.cpu import launch


def winograd(x: Tensor, beside: Tensor | None, weights: Tensor, bias: Tensor | None, y: Tensor) -> None:
    """Fill ``y`` (B, C', H, W) from maps in channels-last order and weights (16, C' / 32, C, 32), transformed."""
    second = 0 if beside is None else beside.shape[1]
    launch.run("winograd", x, x.shape[2], second, y.shape[1], x, beside, weights, bias, y)
