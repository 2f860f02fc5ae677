"""Every operation as a function of a map and two gates, with the sizes and dtypes that its kernels must survive."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from attnzoo import ops

HAS_NATIVE = ops.backends()["native"].available
native_only = pytest.mark.skipif(not HAS_NATIVE, reason=ops.backends()["native"].detail)

Operation = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]


def _chain(x: Tensor, channel: Tensor, spatial: Tensor, blend: Tensor) -> tuple[Tensor, ...]:
    """All three, each on the map that the one before hands on: gradients are carried from one to the next."""
    pooled, x = ops.global_pool(x)
    planes, x = ops.squeeze_channels(x, channel)
    return pooled, planes, ops.apply_gates(x, (channel, spatial), blend=blend)


def _llam(x: Tensor, channel: Tensor, spatial: Tensor, blend: Tensor) -> tuple[Tensor, ...]:
    """As a residual block has it; the shortcut is so large that rounding turns no sign before the ReLU."""
    a, b = ((t * 6 - 3).to(x.dtype).expand_as(x) for t in (channel, spatial))
    return (ops.llam_gate(x, a, b, shortcut=(x.flip(1) - 1) * 64, relu=True),)


def _rows(x: Tensor, channel: Tensor, spatial: Tensor, blend: Tensor) -> tuple[Tensor, ...]:
    """Three copies, of other rows in each image, some of which overlap and some of which are in none."""
    row = torch.arange(x.shape[2]) + torch.arange(x.shape[0])[:, None]
    return tuple(ops.split_rows(x, torch.stack([row % 5 < 3, row % 3 == 1, row < 0])))


OPERATIONS: dict[str, Operation] = {
    "mean": lambda x, c, s, a: ops.global_pool(x, maximum=False)[:1],
    "pool": lambda x, c, s, a: ops.global_pool(x)[:1],
    "squeeze": lambda x, c, s, a: ops.squeeze_channels(x)[:1],
    "squeeze_gated": lambda x, c, s, a: ops.squeeze_channels(x, c)[:1],
    "apply_channel": lambda x, c, s, a: (ops.apply_gates(x, (c,)),),
    "apply_spatial": lambda x, c, s, a: (ops.apply_gates(x, (s,)),),
    "apply_both": lambda x, c, s, a: (ops.apply_gates(x, (s, c)),),
    "apply_residual": lambda x, c, s, a: (ops.apply_gates(x, (c, s), residual=True),),
    "apply_blend": lambda x, c, s, a: (ops.apply_gates(x, (c, s), blend=a),),
    "apply_channel_blend": lambda x, c, s, a: (ops.apply_gates(x, (c,), blend=a),),
    "apply_blend_residual": lambda x, c, s, a: (ops.apply_gates(x, (c, s), blend=a, residual=True),),
    "apply_shortcut": lambda x, c, s, a: (ops.apply_gates(x, (c, s), shortcut=_other(x)),),
    "apply_relu": lambda x, c, s, a: (ops.apply_gates(x - 0.5, (c, s), relu=True),),
    "apply_channel_relu": lambda x, c, s, a: (ops.apply_gates(x - 0.5, (c,), blend=a, relu=True),),
    "apply_block": lambda x, c, s, a: (
        ops.apply_gates(x, (c, s), blend=a, residual=True, shortcut=_other(x), relu=True),
    ),
    "apply_channel_block": lambda x, c, s, a: (ops.apply_gates(x, (c,), shortcut=_other(x), relu=True),),
    "conv": lambda x, c, s, a: (ops.spatial_conv(s.expand(-1, 2, -1, -1) * a, c[:1, :1] * _kernel(7, x), a.view(1)),),
    "conv3": lambda x, c, s, a: (ops.spatial_conv(s.expand(-1, 2, -1, -1) * a, c[:1, :1] * _kernel(3, x), None),),
    "llam": lambda x, c, s, a: (ops.llam_gate(x, x - (c * 4).to(x.dtype)),),
    "llam_relu": lambda x, c, s, a: (ops.llam_gate(x - 0.5, x - 2, (c - s).to(x.dtype), relu=True),),
    "llam_shortcut": lambda x, c, s, a: (ops.llam_gate(x, x - 2, (c - s).to(x.dtype), shortcut=1 - x),),
    "llam_block": _llam,
    "rows": _rows,
    "rows_alike": lambda x, c, s, a: tuple(ops.split_rows(x, torch.arange(x.shape[2])[None, None] % 4 != 2)),
    "chain": _chain,
}


def _other(x: Tensor) -> Tensor:
    """Return a shortcut that makes a gated ``x`` clearly negative here and there, so that no rounding turns a ReLU."""
    lowered = torch.arange(x.shape[1:].numel()).view(x.shape[1:]) % 3 == 0
    return x * 0.5 - lowered.to(x.dtype) * 16


def _kernel(size: int, x: Tensor) -> Tensor:
    steps = torch.arange(2 * size * size, dtype=torch.promote_types(x.dtype, torch.float32))
    return (steps * 0.7).cos().view(1, 2, size, size)


def lanes() -> int:
    """Return how many floats a vector of the chosen kernels holds."""
    from attnzoo.kernels.cpu.library import kernels

    return {"avx512": 16, "avx2": 8, "baseline": 4}[kernels().isa] if HAS_NATIVE else 8


def shapes() -> list[tuple[int, int, int, int]]:
    """Return sizes at, below and above a vector in either axis, primes, single pixels, more than one task."""
    n = lanes()
    edges = [(2, 3, 1, n - 1), (1, n - 1, 1, n), (1, n, 1, n + 1), (2, n + 1, 2, n)]
    return [*edges, (2, 37, 7, 7), (3, 13, 1, 1), (1, 1, 5, 3), (2, 5, 13, 11), (1, 19, 47, 59), (1, 1027, 9, 8)]


def inputs(shape: Sequence[int], dtype: torch.dtype, last: bool = False) -> list[Tensor]:
    """Return a map with ties, its two gates and a blend; the small ones in float32, as the layers make them."""
    batch, channels, height, width = shape
    x = (torch.randn(*shape).relu() * 8).round() / 8  # ties, as behind a ReLU
    x = x.to(dtype).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    small = torch.promote_types(dtype, torch.float32)
    gates = [torch.rand(batch, channels, 1, 1, dtype=small), torch.rand(batch, 1, height, width, dtype=small)]
    return [x, *gates, torch.tensor(0.3, dtype=small)]


def values_and_gradients(
    operation: Operation, tensors: Sequence[Tensor], backend: str, dtype: torch.dtype | None = None
) -> list[Tensor]:
    """Return the outputs and the gradients of all inputs that there are, for a random gradient."""
    leaves = [t.detach().to(dtype or t.dtype).requires_grad_() for t in tensors]
    with ops.backend(backend):
        outputs = operation(*leaves)
    generator = torch.Generator().manual_seed(7)
    seeds = [torch.randn(o.shape, generator=generator).to(tensors[0].dtype).to(o.dtype) for o in outputs]
    gradients: tuple[Any, ...] = torch.autograd.grad(outputs, leaves, seeds, allow_unused=True)
    return [*(o.detach() for o in outputs), *(g for g in gradients if g is not None)]


@functools.cache
def export_is_told() -> bool:
    """Return whether torch can tell compilation from export: up to 2.8 it cannot, and operators are in no graph."""
    asked = torch.compile(lambda x: x + int(torch.compiler.is_exporting()), backend="eager", fullgraph=True)
    return hasattr(torch.compiler, "is_exporting") and not bool(asked(torch.zeros(())))
