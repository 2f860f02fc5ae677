"""Calls the kernels of a whole channel and spatial gate with a record of everything, and knows what they keep."""

from __future__ import annotations

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import _check
from attnzoo.kernels.cpu.library import kernels

_UNFIT = 4


def gate_images(record: bytes, count: int, options: bytes, y: Tensor, state: Tensor | None, training: bool) -> bool:
    """Fill ``y``, and ``state`` if there is one, from what modules hold, as ``attnzoo.ops.reading`` read it.

    Args:
        record: The fields of ``count`` tensors, and the numbers.
        count: How many tensors there are.
        options: ``AttnzooGateOptions`` of gate_call.cpp.
        y: The map that is filled, which may be the one that is read.
        state: See ``gate_state``.
        training: Whether the whole state is wanted.

    Returns:
        Whether it was done: not where a shape, a dtype or an order in memory is not what the kernel takes.
    """
    at = 0 if state is None else state.data_ptr()
    status = kernels().gate_images(record, count, options, torch.get_num_threads(), y.data_ptr(), at, training)
    if status and status != _UNFIT:
        _check(status)
    return status == 0


def gate_images_backward(record: bytes, count: int, options: bytes, state: Tensor) -> None:
    """Fill the gradients, from the state that ``gate_images`` left in training.

    Args:
        record: The fields of before, that of the output's gradient, which is like the map, and those of the gradients,
            each like its tensor; then the numbers.
        count: How many fields there are.
        options: As before.
        state: What was left.
    """
    _check(
        kernels().gate_images_backward(record, count, options, torch.get_num_threads(), None, state.data_ptr(), True)
    )


def gate_state(x: Tensor, hidden: int, *, maxima: bool, spatial: bool) -> Tensor:
    """Return the memory for what ``gate_images`` finds on its way: see ``State`` of gates.h.

    Of its last three numbers the first and the third are average and variance of the convolution without its bias,
    where the norm goes by those of the batch.

    Args:
        x: The map (B, C, H, W).
        hidden: Width of the bottleneck; 0 where there is no channel gate.
        maxima: Whether maxima are pooled, besides the averages.
        spatial: Whether there is a spatial gate.
    """
    batch, channels, height, width = x.shape
    floats = _vectors(channels, hidden, maxima) + channels + 2 + (4 * height * width if spatial else 0)
    return x.new_empty(batch * floats + 3, dtype=torch.float32)


def gates_in_state(
    state: Tensor, x: Tensor, hidden: int, *, maxima: bool, spatial: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the channel gate (B, C, 1, 1) and the logits of the spatial one (B, 1, H, W) that a state holds.

    The logits are the convolution's, without its bias.
    """
    batch, channels, height, width = x.shape
    before, pixels = _vectors(channels, hidden, maxima), height * width
    channel = state[batch * before : batch * (before + channels)].view(batch, channels, 1, 1) if hidden else None
    start = batch * (before + channels + 3 * pixels)
    logits = state[start : start + batch * pixels].view(batch, 1, height, width) if spatial else None
    return channel, logits


def _vectors(channels: int, hidden: int, maxima: bool) -> int:
    each = 1 + maxima
    return (each + 1) * channels + each * hidden if hidden else 0
