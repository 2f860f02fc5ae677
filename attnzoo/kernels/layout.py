"""How kernels read a map that is dense in NCHW or channels-last order."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_IMAGE = 2**31 - 1
"""Elements of an image that the Triton kernels take; places in it are 32-bit numbers to them."""


def channels_last(x: Tensor) -> bool:
    """Tell whether kernels read ``x`` pixel by pixel; a map that is dense in both orders is read in long rows."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        return False
    return not x.is_contiguous() or x.shape[1] > x.shape[2] * x.shape[3]
