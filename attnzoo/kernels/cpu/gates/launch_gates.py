"""Call the kernels of a whole channel and spatial gate, and allocate and read the state that they leave."""

from __future__ import annotations

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import _check
from attnzoo.kernels.cpu.library import kernels

_UNFIT = 4


def gate_images(record: bytes, count: int, options: bytes, y: Tensor, state: Tensor | None, training: bool) -> bool:
    """Fill ``y``, and ``state`` if there is one, from a record of ``attnzoo.ops.reading.read``.

    Args:
        record: The fields of ``count`` tensors, then the numbers.
        count: Number of tensors.
        options: ``AttnzooGateOptions`` of gate_call.cpp.
        y: The output map; it may be the input map.
        state: Memory from ``gate_state``, or None.
        training: Whether to fill the whole state, for the backward pass.

    Returns:
        Whether ``y`` was computed; False if the kernel does not support a shape, a dtype or a memory format.
    """
    at = 0 if state is None else state.data_ptr()
    status = kernels().gate_images(record, count, options, torch.get_num_threads(), y.data_ptr(), at, training)
    if status and status != _UNFIT:
        _check(status)
    return status == 0


def gate_images_backward(record: bytes, count: int, options: bytes, state: Tensor) -> None:
    """Fill the gradients, from the state that ``gate_images`` left with ``training``.

    Args:
        record: The fields of the forward pass, of the output's gradient and of the gradients to fill, each with shape
            and memory format of its tensor; then the numbers.
        count: Number of fields.
        options: As in the forward pass.
        state: The state of the forward pass.
    """
    _check(
        kernels().gate_images_backward(record, count, options, torch.get_num_threads(), None, state.data_ptr(), True)
    )


def gate_state(x: Tensor, hidden: int, *, maxima: bool, spatial: bool) -> Tensor:
    """Return empty memory for the intermediate results of ``gate_images``: ``State`` of gates.h.

    If the norm uses the batch's statistics, the first and third of the last three numbers are average and variance of
    the convolution without its bias.

    Args:
        x: The map (B, C, H, W).
        hidden: Width of the bottleneck; 0 without a channel gate.
        maxima: Whether maxima are pooled in addition to the averages.
        spatial: Whether there is a spatial gate.
    """
    batch, channels, height, width = x.shape
    floats = _vectors(channels, hidden, maxima) + channels + 2 + (4 * height * width if spatial else 0)
    return x.new_empty(batch * floats + 3, dtype=torch.float32)


def gates_in_state(
    state: Tensor, x: Tensor, hidden: int, *, maxima: bool, spatial: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the channel gate (B, C, 1, 1) and the logits of the spatial gate (B, 1, H, W) from a state.

    The logits are the convolution's output without its bias, before the norm. None for a gate that does not exist.
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
