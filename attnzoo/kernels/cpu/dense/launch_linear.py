"""Call the kernel of linear layers on float32 tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import _check
from attnzoo.kernels.cpu.library import kernels
from attnzoo.kernels.cpu.records import Record

LAYER = Record(
    **dict.fromkeys(("batch", "inputs", "outputs", "rectified", "transposed"), "q"),
    **dict.fromkeys(("x", "weight", "bias", "y", "columns"), "P"),
)
"""``AttnzooLinear`` of linear.cpp."""
_FLOAT = 4  # bytes


class Layer(NamedTuple):
    """One layer.

    Attributes:
        weight: (C', C), contiguous.
        bias: (C',), contiguous, or None.
        relu: Whether to apply a ReLU.
        gathered: Whether the outputs (N, C') are flattened to one vector (1, C' N), channel by channel.
    """

    weight: Tensor
    bias: Tensor | None
    relu: bool
    gathered: bool


def linears(x: Tensor, layers: Sequence[Layer], y: Tensor) -> None:
    """Fill ``y``, the last layer's output, from ``x`` (N, C), which is contiguous or a transposed contiguous tensor.

    One allocation holds the intermediate vectors and the contiguous copy of a transposed ``x``.
    """
    vectors, inputs = x.shape
    transposed = not x.is_contiguous()
    sizes = [vectors * inputs if transposed else 0]
    batch = vectors
    for weight, _, _, gathered in layers[:-1]:
        sizes.append(batch * weight.shape[0])
        batch = 1 if gathered else batch
    between = x.new_empty(sum(sizes))
    at, columns, packed = between.data_ptr(), x.data_ptr() if transposed else 0, bytearray()
    read = at if transposed else x.data_ptr()
    for k, (weight, bias, relu, gathered) in enumerate(layers):
        at += _FLOAT * sizes[k] if k < len(sizes) else 0
        write = y.data_ptr() if k == len(layers) - 1 else at
        bias_pointer = 0 if bias is None else bias.data_ptr()
        packed += LAYER.pack(
            *(vectors, inputs, weight.shape[0], relu, gathered, read, weight.data_ptr(), bias_pointer, write, columns)
        )
        vectors, inputs = (1, vectors * weight.shape[0]) if gathered else (vectors, weight.shape[0])
        read, columns = write, 0
    _check(kernels().linears(len(layers), torch.get_num_threads(), bytes(packed)))
