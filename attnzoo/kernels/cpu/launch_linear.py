"""Calls the kernel of linear layers on tensors. All are contiguous float32."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import _check
from attnzoo.kernels.cpu.library import kernels

_LAYER = struct.Struct("=9q")  # AttnzooLinear of linear.cpp


class Layer(NamedTuple):
    """One layer.

    Attributes:
        x: Vectors (N, C).
        weight: (C', C).
        bias: (C',), or None.
        relu: Whether negative values become 0.
        transposed: Whether ``y`` is (C', N).
        y: The output (N, C').
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    relu: bool
    transposed: bool
    y: Tensor


def linears(layers: Sequence[Layer]) -> None:
    """Fill the outputs of layers, one after the other; what a layer reads may be what the one before has made."""
    packed = b"".join(
        _LAYER.pack(
            *(*layer.x.shape, len(layer.weight), layer.relu, layer.transposed),
            *(0 if t is None else t.data_ptr() for t in (layer.x, layer.weight, layer.bias, layer.y)),
        )
        for layer in layers
    )
    _check(kernels().linears(len(layers), torch.get_num_threads(), packed))
