"""Calls the kernels of a whole channel and spatial gate: one packed record says everything.

To build structures of ctypes field by field would take longer than the kernel takes for a small map.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import DTYPES, _check
from attnzoo.kernels.cpu.library import kernels
from attnzoo.kernels.cpu.records import Record
from attnzoo.kernels.layout import channels_last

CALL_FIELDS = (
    *("batch", "channels", "height", "width", "channels_last", "dtype", "threads", "training", "x", "y", "state"),
    *("type", "hidden", "maxima", "reduce", "expand", "reduce_bias", "expand_bias"),
    *("size", "plane", "row", "column", "weight", "bias", "gain", "shift", "normed", "batch_norm", "running"),
    *("mean", "variance", "tracked", "momentum", "epsilon", "blend", "offset"),
)
"""The fields of ``AttnzooGate`` in gate_record.h, of eight bytes each."""
CALL = struct.Struct("=32q2dqd")
GRADIENTS_FIELDS = (
    *("dy", "dx", "reduce", "expand", "reduce_bias", "expand_bias", "weight", "bias", "gain", "shift", "blend"),
    *("plane", "row", "column"),
)
"""Those of ``AttnzooGradients``."""
GRADIENTS = struct.Struct("=14q")


class Weights(NamedTuple):
    """What a gradient is taken of, besides the map: all of one dtype, None where there is none."""

    reduce: Tensor | None
    """(hidden, C, ...), contiguous."""
    expand: Tensor | None
    """(C, hidden, ...), contiguous."""
    reduce_bias: Tensor | None
    expand_bias: Tensor | None
    weight: Tensor | None
    """(1, 2, K, K), of any strides."""
    bias: Tensor | None
    gain: Tensor | None
    shift: Tensor | None
    blend: Tensor | None
    """How much of each gate counts: a single number; None for all of it."""


class Norm(NamedTuple):
    """How the convolution is normalised."""

    batch: bool
    """By the average and the variance of the batch."""
    mean: Tensor | None
    """What it goes by, else; or what is to follow the batch, if anything is."""
    variance: Tensor | None
    tracked: Tensor | None
    """The number of batches followed."""
    momentum: float
    epsilon: float


class Options(NamedTuple):
    """What no gradient is taken of."""

    maxima: bool
    """Whether maxima are pooled, besides the averages."""
    offset: float
    """What is added to the product of the gates; with a blend it counts as much as they do."""
    norm: Norm | None


REQUEST = Record(
    **dict.fromkeys(("threads", "training", "channel", "maxima", "spatial", "normed"), "q"),
    offset="d",
    y="P",
    state="P",
)
"""``AttnzooGateRequest`` of gate_call.cpp."""
_UNFIT = 4


def gate_call(
    record: bytes,
    count: int,
    request: tuple[bool | float, ...],
    training: bool,
    state: Tensor | None,
    y: Tensor,
) -> bool:
    """Fill ``y``, and ``state`` if there is one, from what modules hold, as ``attnzoo.ops.reading`` read it.

    Args:
        record: The fields of ``count`` tensors, and the numbers.
        count: How many tensors there are.
        request: Whether there is a channel gate, whether it looks at maxima, whether there is a spatial gate, whether
            that has a norm; and what is added to the product of the gates.
        training: Whether the whole state is wanted.
        state: See ``gate_state``.
        y: The map that is filled, which may be the one that is read.

    Returns:
        Whether it was done: not where a shape, a dtype or an order in memory is not what the kernel takes.
    """
    at = (y.data_ptr(), 0 if state is None else state.data_ptr())
    status = kernels().gate_call(record, count, REQUEST.pack(torch.get_num_threads(), training, *request, *at))
    if status and status != _UNFIT:
        _check(status)
    return status == 0


def gate_state(x: Tensor, weights: Weights, options: Options) -> Tensor:
    """Return the memory for what ``gate_images`` finds on its way: see ``State`` of gates.h.

    Of its last three numbers the first and the third are average and variance of the convolution without its bias,
    where the norm goes by those of the batch.
    """
    batch, channels, height, width = x.shape
    floats = channels + 2
    if weights.reduce is not None:
        each = 1 + options.maxima
        floats += (each + 1) * channels + each * len(weights.reduce)
    if weights.weight is not None:
        floats += 4 * height * width
    return x.new_empty(batch * floats + 3, dtype=torch.float32)


def gates_in_state(x: Tensor, weights: Weights, options: Options, state: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the channel gate (B, C, 1, 1) and the logits of the spatial one (B, 1, H, W) that a state holds.

    The logits are the convolution's, without its bias.
    """
    batch, channels, height, width = x.shape
    reduce, each = weights.reduce, 1 + options.maxima
    before = 0 if reduce is None else (1 + each) * channels + each * len(reduce)
    channel = state[batch * before : batch * (before + channels)].view(batch, channels, 1, 1)
    if weights.weight is None:
        return channel, None
    start, pixels = before + channels, height * width
    logits = state[batch * (start + 3 * pixels) : batch * (start + 4 * pixels)].view(batch, 1, height, width)
    return None if reduce is None else channel, logits


def gate_images_backward(
    dy: Tensor, x: Tensor, weights: Weights, options: Options, state: Tensor, dx: Tensor, gradients: Weights
) -> None:
    """Fill ``dx`` and the gradients that are wanted, each like its weight.

    They come from the state that ``gate_images`` left in training.
    """
    weight = gradients.weight
    strides = (0, 0, 0) if weight is None else weight.stride()[1:]
    pointers = [0 if t is None else t.data_ptr() for t in (dy, dx, *gradients)]
    call = _packed(x, weights, options, True, state, None)
    _check(kernels().gate_images_backward(call, GRADIENTS.pack(*pointers, *strides)))


def _packed(
    x: Tensor, weights: Weights, options: Options, training: bool, state: Tensor | None, y: Tensor | None
) -> bytes:
    maxima, offset, norm = options
    reduce, _, _, _, weight, *_ = weights
    size, hidden, dtype, running = 0, 0, 0, 0
    strides: tuple[int, ...] = (0, 0, 0)
    if reduce is not None:
        hidden, dtype = reduce.shape[0], DTYPES[reduce.dtype]
    if weight is not None:
        _, _, _, size = weight.shape
        strides = weight.stride()[1:]
        dtype = DTYPES[weight.dtype]
    batch_norm, mean, variance, tracked, momentum, epsilon = (
        (False, None, None, None, 0.0, 0.0) if norm is None else norm
    )
    if mean is not None:
        running = DTYPES[mean.dtype]
    at = [0 if t is None else t.data_ptr() for t in (x, y, state, *weights, mean, variance, tracked)]
    return CALL.pack(
        *(*x.shape, channels_last(x), DTYPES[x.dtype], torch.get_num_threads(), training, *at[:3]),
        *(dtype, hidden, maxima, *at[3:7]),
        *(size, *strides, *at[7:11], norm is not None, batch_norm, running, *at[12:]),
        *(momentum, epsilon, at[11], offset),
    )
