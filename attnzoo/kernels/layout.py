"""The order in which kernels read a map that is contiguous in NCHW or channels-last order."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_IMAGE = 2**31 - 1
"""The largest number of elements per image for the Triton kernels, which index an image by 32-bit integers."""


def channels_last(x: Tensor) -> bool:
    """Tell whether kernels read ``x`` in channels-last order; if both orders fit, the one with longer rows is read."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return not x.is_contiguous() or x.shape[1] > x.shape[2] * x.shape[3]
