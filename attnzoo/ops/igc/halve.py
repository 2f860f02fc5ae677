"""2x2 max pooling of guiding maps, which must follow the halving of a network's maps."""

from __future__ import annotations

import torch
from torch import Tensor

from attnzoo.ops import eligibility

_ONE_THREAD = 1 << 20
"""Number of elements up to which one thread is faster than several; measured."""


def halve(maps: Tensor, *, backend: str | None = None) -> Tensor:
    """Return ``max_pool2d(maps, 2)`` for maps of even height and width, faster on CPUs.

    Args:
        maps: (B, C, H, W), floating, H and W even.
        backend: Overrides ``attnzoo.ops.backend`` for this call.

    Returns:
        (B, C, H / 2, W / 2) of the dtype of ``maps``; NaN where one of the four pixels is NaN.

    Raises:
        RuntimeError: If the backend asked for cannot run.
        ValueError: If the shape does not fit.
    """
    if maps.dim() != 4 or maps.shape[2] % 2 or maps.shape[3] % 2:
        raise ValueError(f"maps must have shape (B, C, H, W) with H and W even, got {tuple(maps.shape)}")
    unfit = None
    if maps.dtype != torch.float32:
        unfit = f"float32 maps are needed, got {maps.dtype}"
    elif torch.is_grad_enabled() and maps.requires_grad:
        unfit = "it has no gradient"
    if not torch.compiler.is_compiling() and eligibility.takes_native("halve", maps, backend, unfit):
        return _native(maps)
    return reference(maps)


def reference(maps: Tensor) -> Tensor:
    """Return the same as ``halve``, computed by torch's ``maximum``, which is far faster than ``max_pool2d``."""
    rows = torch.maximum(maps[:, :, ::2], maps[:, :, 1::2])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def _native(maps: Tensor) -> Tensor:
    from attnzoo.kernels.cpu.igc import launch

    batch, channels, height, width = maps.shape
    out = maps.new_empty((batch, channels, height // 2, width // 2))
    launch.halve(maps.contiguous(), 1 if maps.numel() <= _ONE_THREAD else torch.get_num_threads(), out)
    return out
