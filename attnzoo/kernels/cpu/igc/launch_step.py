"""Calls the passes of a training step over the IGC block on tensors, all contiguous; maps and weights are float32.

A norm is given as ``affine`` (2, C), its scale and shift, or ``terms`` (4, C), what its backward pass is made of: see
step_backward.cpp. What a pass gathers for the next norm is float64: ``moments`` (2, C), means and variances, and
``sums`` (2, C).
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import _check, _pointer
from attnzoo.kernels.cpu.library import kernels


class Step(ctypes.Structure):
    """``AttnzooIgcStep`` of step.h."""

    _fields_ = (
        *((name, c_int64) for name in ("batch", "channels", "height", "width", "groups", "outputs")),
        *((name, c_int32) for name in ("dense", "pool", "threads")),
    )


class Geometry(NamedTuple):
    """What a block's sizes are: groups of the first convolution, channels that it makes."""

    groups: int
    outputs: int
    dense: bool
    pool: bool


def _call(name: str, x: Tensor, geometry: Geometry, *tensors: Tensor | None) -> None:
    step = Step(*x.shape, *geometry, torch.get_num_threads())
    _check(getattr(kernels(), f"igc_step_{name}")(ctypes.byref(step), *map(_pointer, tensors)))


def first(x: Tensor, geometry: Geometry, weight: Tensor, a: Tensor, moments: Tensor) -> None:
    """Fill ``a`` with the grouped 3x3 convolution of ``x`` (B, C, H, W), and its moments."""
    _call("first", x, geometry, x, weight, a, moments)


def second(a: Tensor, geometry: Geometry, affine: Tensor, weight: Tensor, b: Tensor, moments: Tensor) -> None:
    """Fill ``b`` with the grouped 1x1 convolution of ``relu(norm(a))``, and its moments."""
    _call("second", a, geometry, a, affine, weight, b, moments)


def third(
    b: Tensor,
    x: Tensor,
    geometry: Geometry,
    affine: Tensor,
    weight: Tensor,
    signs: Tensor,
    kept: Tensor,
    moments: Tensor,
) -> None:
    """Fill ``kept`` with the last convolution, of each window what its norm, of gains with ``signs``, makes largest."""
    _call("third", x, geometry, b, x, affine, weight, signs, kept, moments)


def last(kept: Tensor, affine: Tensor, y: Tensor) -> None:
    """Fill ``y`` with ``relu(norm(kept))``."""
    _check(kernels().igc_step_last(*_planes(kept), *map(_pointer, (kept, affine, y))))


def last_backward(dy: Tensor, kept: Tensor, affine: Tensor, means: Tensor, sums: Tensor) -> None:
    """Fill ``sums`` with those of ``dy`` behind the ReLU, and of that times ``kept - means``."""
    _check(kernels().igc_step_last_backward(*_planes(kept), *map(_pointer, (dy, kept, affine, means, sums))))


def third_backward(
    dy: Tensor,
    b: Tensor,
    x: Tensor,
    geometry: Geometry,
    affine: Tensor,
    weight: Tensor,
    signs: Tensor,
    own_affine: Tensor,
    terms: Tensor,
    means: Tensor,
    dt: Tensor,
    sums: Tensor,
    d_weight: Tensor,
) -> None:
    """Fill ``dt``, the gradient before the connection, its sums with ``b - means``, and ``d_weight`` transposed."""
    transposed = weight.flatten(1).t().contiguous()
    tensors = (dy, b, x, affine, weight, transposed, signs, own_affine, terms, means, dt, sums, d_weight)
    _call("third_backward", x, geometry, *tensors)


def second_backward(
    dt: Tensor,
    b: Tensor,
    geometry: Geometry,
    terms: Tensor,
    a: Tensor,
    affine: Tensor,
    means: Tensor,
    weight: Tensor,
    dz: Tensor,
    sums: Tensor,
    d_weight: Tensor,
) -> None:
    """Fill ``dz``, the gradient of ``norm(a)``, its sums with ``a - means``, and ``d_weight``."""
    transposed = weight.view(-1, geometry.groups, geometry.groups).transpose(1, 2).contiguous()
    tensors = (dt, b, terms, a, affine, means, transposed, dz, sums, d_weight)
    _call("second_backward", a, geometry, *tensors)


def first_backward(
    dz: Tensor,
    a: Tensor,
    geometry: Geometry,
    terms: Tensor,
    x: Tensor,
    weight: Tensor,
    dt: Tensor,
    dx: Tensor | None,
    d_weight: Tensor,
) -> None:
    """Fill ``d_weight`` and, if it is wanted, ``dx``, to which the last channels of ``dt`` are added."""
    members = weight.shape[1]
    flipped = weight.view(-1, members, members, 3, 3).transpose(1, 2).flip(3, 4).contiguous()
    _call("first_backward", x, geometry, dz, a, terms, x, flipped, dt, dx, d_weight)


def _planes(kept: Tensor) -> tuple[int, int, int, int]:
    return kept.shape[0], kept.shape[1], kept.shape[2] * kept.shape[3], torch.get_num_threads()
