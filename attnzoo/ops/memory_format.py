"""The memory format of a map: contiguous (NCHW) or channels-last."""

from __future__ import annotations

import torch
from torch import Tensor

from attnzoo.ops import eligibility


def memory_format(x: Tensor) -> torch.memory_format:
    """Return the memory format of a map (B, C, H, W): channels-last if it is that and not contiguous as well.

    Under ``torch.func`` it is always NCHW, because vmap supports no other.
    """
    if eligibility.transformed():
        return torch.contiguous_format
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def channels_last(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) in channels-last order; ``x`` itself under ``torch.func``, which needs NCHW."""
    return x if eligibility.transformed() else x.contiguous(memory_format=torch.channels_last)
