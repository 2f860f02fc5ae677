"""Run a layer and report which backend computes each of its operations, and why no kernel does where torch does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from attnzoo.ops import eligibility
from attnzoo.ops.eligibility import Decision
from attnzoo.ops.torch_internals import buffers_of


def explain(layer: Callable[..., Any], *inputs: Any, **options: Any) -> list[Decision]:
    """Run a layer once and return which backend computed each of its operations, and why where it was torch.

    Hooks run. A module's buffers, such as running statistics, are restored afterwards. The answer may depend on
    whether gradients are enabled: not every kernel has a backward pass.

    Args:
        layer: A layer, a whole model, or any callable.
        *inputs: Positional arguments of the call.
        **options: Keyword arguments of the call.

    Returns:
        One decision for each call of an operation of attnzoo, in order: ``operation``, ``backend`` (``"native"``,
        ``"triton"`` or ``"torch"``), and ``reason``, None where a kernel computed it. Empty if the layer calls no such
        operation.

    Raises:
        Exception: Whatever the layer raises.

    Example:
        >>> from attnzoo import SqueezeExcite
        >>> [decision.reason for decision in explain(SqueezeExcite(8).double(), torch.zeros(1, 8, 4, 4).double())][0]
        'native kernels take plain dense CPU tensors of torch.float32, torch.bfloat16, torch.float16, got Tensor of \
torch.float64 on cpu'
    """
    with _unchanged_buffers(layer), eligibility.noting() as decisions:
        layer(*inputs, **options)
    return decisions


@contextlib.contextmanager
def _unchanged_buffers(layer: Callable[..., Any]) -> Iterator[None]:
    modules = list(layer.modules()) if isinstance(layer, nn.Module) else []
    before = [
        (buffers, name, t) for buffers in map(buffers_of, modules) for name, t in buffers.items() if t is not None
    ]
    values = [tensor.detach().clone() for _, _, tensor in before]
    try:
        yield
    finally:
        for (buffers, name, tensor), value in zip(before, values, strict=True):
            buffers[name] = tensor
            with torch.no_grad():
                tensor.copy_(value)
