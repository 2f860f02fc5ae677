"""Call the forward and backward passes of CEDNN's block in training.

All tensors are contiguous; maps and weights are float32. A norm is given as ``affine`` (2, C), its scale and shift, or
in the backward pass as ``terms`` (4, C), see step_backward.cpp. The sums that a pass computes for the next norm are
float64: ``moments`` (2, C) are means and variances, ``sums`` (2, C) those of the gradient.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_int64, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from attnzoo.kernels.cpu.launch import _check, pointers
from attnzoo.kernels.cpu.library import kernels


class Step(ctypes.Structure):
    """``AttnzooIgcStep`` of step.h."""

    _fields_ = (
        *((name, c_int64) for name in ("batch", "channels", "height", "width", "groups", "outputs")),
        *((name, c_int32) for name in ("dense", "pool", "threads")),
        *((name, c_void_p) for name in ("x", "weight", "transposed", "flipped", "affine", "third", "signs", "terms")),
        *((name, c_void_p) for name in ("means", "dy", "a", "b", "kept", "y", "dt", "dz", "dx", "d_weight")),
        *((name, c_void_p) for name in ("moments", "sums")),
    )


class Geometry(NamedTuple):
    """The options of a block: groups of the first convolution, output channels, dense connection or not, pooling."""

    groups: int
    outputs: int
    dense: bool
    pool: bool


def _call(name: str, shape: Sequence[int], geometry: Geometry, **tensors: Tensor | None) -> None:
    step = Step(*shape, *geometry, torch.get_num_threads(), **pointers(**tensors))
    _check(getattr(kernels(), f"igc_step_{name}")(ctypes.byref(step)))


def first(x: Tensor, geometry: Geometry, weight: Tensor, a: Tensor, moments: Tensor) -> None:
    """Fill ``a`` with the grouped 3x3 convolution of ``x`` (B, C, H, W), and ``moments`` with its moments."""
    _call("first", x.shape, geometry, x=x, weight=weight, a=a, moments=moments)


def second(a: Tensor, geometry: Geometry, affine: Tensor, weight: Tensor, b: Tensor, moments: Tensor) -> None:
    """Fill ``b`` with the grouped 1x1 convolution of ``relu(norm(a))``, and ``moments`` with its moments."""
    _call("second", a.shape, geometry, a=a, affine=affine, weight=weight, b=b, moments=moments)


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
    """Fill ``kept`` with the last convolution and ``moments`` with its moments.

    With pooling, ``kept`` holds for each 2x2 window the value that is largest after the norm: the largest where
    ``signs``, the signs of the norm's gains, is 1, the smallest where it is -1.
    """
    tensors = {"affine": affine, "weight": weight, "signs": signs, "kept": kept, "moments": moments}
    _call("third", x.shape, geometry, b=b, x=x, **tensors)


def last(kept: Tensor, affine: Tensor, y: Tensor) -> None:
    """Fill ``y`` with ``relu(norm(kept))``."""
    _call("last", kept.shape, _outputs(kept), kept=kept, affine=affine, y=y)


def last_backward(dy: Tensor, kept: Tensor, affine: Tensor, means: Tensor, sums: Tensor) -> None:
    """Fill ``sums`` with the sums of g and of ``g * (kept - means)``, where g is the gradient in front of the ReLU."""
    _call("last_backward", kept.shape, _outputs(kept), dy=dy, kept=kept, affine=affine, means=means, sums=sums)


def third_backward(
    dy: Tensor,
    b: Tensor,
    x: Tensor,
    geometry: Geometry,
    affine: Tensor,
    weight: Tensor,
    signs: Tensor,
    third_affine: Tensor,
    terms: Tensor,
    means: Tensor,
    dt: Tensor,
    sums: Tensor,
    d_weight: Tensor,
) -> None:
    """Fill ``dt``, the gradient in front of the connection's ReLU, its ``sums``, and ``d_weight``, transposed.

    ``sums`` are those of the gradient and of the gradient times ``b - means``.
    """
    transposed = weight.flatten(1).t().contiguous()
    norms = {"affine": affine, "third": third_affine, "signs": signs, "terms": terms, "means": means}
    weights = {"weight": weight, "transposed": transposed, "d_weight": d_weight}
    _call("third_backward", x.shape, geometry, dy=dy, b=b, x=x, dt=dt, sums=sums, **norms, **weights)


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
    """Fill ``dz``, the gradient of ``norm(a)``, its ``sums``, also times ``a - means``, and ``d_weight``."""
    transposed = weight.view(-1, geometry.groups, geometry.groups).transpose(1, 2).contiguous()
    norms = {"terms": terms, "affine": affine, "means": means}
    weights = {"transposed": transposed, "d_weight": d_weight}
    _call("second_backward", a.shape, geometry, dt=dt, b=b, a=a, dz=dz, sums=sums, **norms, **weights)


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
    """Fill ``d_weight`` and, unless it is None, ``dx``, the gradient of ``x`` plus the last channels of ``dt``."""
    members = weight.shape[1]
    flipped = weight.view(-1, members, members, 3, 3).transpose(1, 2).flip(3, 4).contiguous()
    weights = {"flipped": flipped, "d_weight": d_weight}
    _call("first_backward", x.shape, geometry, dz=dz, a=a, terms=terms, x=x, dt=dt, dx=dx, **weights)


def _outputs(kept: Tensor) -> Geometry:
    return Geometry(1, kept.shape[1], dense=False, pool=False)
