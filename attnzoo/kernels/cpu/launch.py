"""Call the CPU kernels on tensors.

The caller allocates the outputs, which the functions fill. Maps (B, C, H, W) are contiguous in NCHW or channels-last
order and of one dtype; all other tensors are contiguous float32.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from attnzoo.kernels.cpu.library import Map, kernels
from attnzoo.kernels.layout import channels_last

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_STATUS = {1: "unknown dtype", 2: "out of memory", 3: "unsupported kernel size"}


def global_pool(x: Tensor, pooled: Tensor, ties: Tensor | None) -> None:
    """Fill ``pooled`` (1, B, C) with averages, or (2, B, C) with averages and maxima, and ``ties`` (B, C).

    ``ties`` are the numbers of pixels that equal the maximum.
    """
    maxima = pooled[1] if len(pooled) == 2 else None
    _check(kernels().global_pool(_map(x), x.data_ptr(), pooled.data_ptr(), _pointer(maxima), _pointer(ties)))


def global_pool_backward(
    x: Tensor, carried: Tensor | None, d_pooled: Tensor, pooled: Tensor, ties: Tensor | None, dx: Tensor
) -> None:
    """Fill ``dx`` with the gradient of the averages and, if ``ties`` is given, of the maxima, plus ``carried``."""
    both = ties is not None
    arguments = (
        x.data_ptr() if both else None,
        _pointer(carried),
        d_pooled.data_ptr(),
        d_pooled[1].data_ptr() if both else None,
        pooled[1].data_ptr() if both else None,
        _pointer(ties),
        dx.data_ptr(),
    )
    _check(kernels().global_pool_backward(_map(x), *arguments))


def squeeze_channels(x: Tensor, gate: Tensor, planes: Tensor, ties: Tensor | None) -> None:
    """Fill ``planes`` (B, 2, H, W) with the averages and maxima of ``x * gate``, and ``ties`` (B, H, W).

    ``gate`` is (B, C); ``ties`` are the numbers of channels that equal the maximum.
    """
    pointers = (x.data_ptr(), gate.data_ptr(), planes.data_ptr(), _pointer(ties))
    _check(kernels().squeeze_channels(_map(x), *pointers))


def squeeze_channels_backward(
    x: Tensor,
    carried: Tensor | None,
    gate: Tensor,
    planes: Tensor,
    ties: Tensor,
    d_planes: Tensor,
    dx: Tensor,
    d_gate: Tensor,
) -> None:
    """Fill ``dx``, the gradient of ``x`` plus ``carried``, and ``d_gate`` (B, C)."""
    tensors = (x, carried, gate, planes, ties, d_planes, dx, d_gate)
    _check(kernels().squeeze_channels_backward(_map(x), *map(_pointer, tensors)))


def apply_gates(
    x: Tensor,
    channel: Tensor,
    spatial: Tensor | None,
    blend: Tensor | None,
    residual: bool,
    shortcut: Tensor | None,
    relu: bool,
    y: Tensor,
) -> None:
    """Fill ``y`` with ``[relu](x * (b(channel) * b(spatial) + residual) [+ shortcut])``.

    channel is (B, C), spatial (B, 1, H, W). Without a blend, ``b(g) = g``; with one, ``b(g) = blend * g + 1 - blend``
    and the residual is multiplied by the blend.
    """
    inputs = (x.data_ptr(), channel.data_ptr(), _pointer(spatial))
    outputs = (_pointer(shortcut), relu, y.data_ptr())
    _check(kernels().apply_gates(_map(x), *inputs, *_blend(blend, residual), *outputs))


def apply_gates_backward(
    dy: Tensor,
    x: Tensor,
    channel: Tensor,
    spatial: Tensor | None,
    blend: Tensor | None,
    residual: bool,
    y: Tensor | None,
    relu: bool,
    dx: Tensor,
    d_channel: Tensor,
    d_spatial: Tensor | None,
    d_shortcut: Tensor | None,
) -> None:
    """Fill ``dx``, and the gradients ``d_channel`` (B, C) and ``d_spatial`` (B, 1, H, W) of the blended gates.

    ``y`` and ``d_shortcut`` are given if a shortcut was added before a ReLU; ``d_shortcut`` is ``dy`` where the ReLU
    was positive, else 0.
    """
    inputs = map(_pointer, (dy, x, channel, spatial))
    outputs = map(_pointer, (dx, d_channel, d_spatial, d_shortcut))
    _check(kernels().apply_gates_backward(_map(x), *inputs, *_blend(blend, residual), _pointer(y), relu, *outputs))


def spatial_conv(planes: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Fill ``out`` (B, 1, H, W): ``planes`` (B, 2, H, W) convolved with ``weight`` (1, 2, K, K), zero-padded."""
    pointers = (planes.data_ptr(), weight.data_ptr())
    shift = 0.0 if bias is None else bias.item()
    _check(kernels().spatial_conv(*_plane(planes, weight), *pointers, shift, out.data_ptr()))


def spatial_conv_backward(planes: Tensor, weight: Tensor, d_out: Tensor, d_planes: Tensor, d_weight: Tensor) -> None:
    """Fill the gradients ``d_planes`` and ``d_weight``."""
    tensors = (planes, weight, d_out, d_planes, d_weight)
    _check(kernels().spatial_conv_backward(*_plane(planes, weight), *(t.data_ptr() for t in tensors)))


def run(kernel: str, x: Tensor, *arguments: Any) -> None:
    """Call a kernel with the geometry of ``x``, then ``arguments``: tensors, as pointers, and numbers."""
    _check(getattr(kernels(), kernel)(_map(x), *(_pointer(a) if isinstance(a, Tensor) else a for a in arguments)))


def call(kernel: str, record: ctypes.Structure) -> None:
    """Call a kernel whose only argument is a struct."""
    _check(getattr(kernels(), kernel)(ctypes.byref(record)))


def map_of(x: Tensor) -> Map:
    """Return the geometry of a map."""
    batch, channels, height, width = x.shape
    return Map(batch, channels, height * width, channels_last(x), DTYPES[x.dtype], torch.get_num_threads())


def pointers(**tensors: Tensor | None) -> dict[str, int | None]:
    """Return the address of each tensor by its name; None for None."""
    return {name: _pointer(tensor) for name, tensor in tensors.items()}


def _map(x: Tensor) -> Any:
    return ctypes.byref(map_of(x))


def _blend(blend: Tensor | None, residual: bool) -> tuple[float, float]:
    """Return the blend as a number, and the number that is added to the gates' product."""
    share = 1.0 if blend is None else blend.item()
    return share, share * residual


def _plane(planes: Tensor, weight: Tensor) -> tuple[int, int, int, int, int]:
    batch, _, height, width = planes.shape
    return batch, height, width, weight.shape[-1], torch.get_num_threads()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _check(status: int) -> None:
    if status == 2:
        raise MemoryError("a CPU kernel of attnzoo ran out of memory")
    if status:
        raise RuntimeError(f"a CPU kernel of attnzoo failed: {_STATUS.get(status, status)}")
