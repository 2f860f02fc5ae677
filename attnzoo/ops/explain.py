"""Which backend computes a layer, and why not kernels: the answers that the layer's operations get while it runs."""

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
    """Run a layer once and return who computed each of its operations: kernels, or torch and why.

    A module's buffers, such as running statistics, are put back afterwards. Hooks run. Gradients are recorded as they
    are where this is called: operations without a gradient kernel depend on it.

    Args:
        layer: A layer, a whole model, or any callable.
        *inputs: What it is called with.
        **options: By keyword.

    Returns:
        A decision for each time that an operation of attnzoo was asked for, in order: ``operation``, ``backend``
        (``"native"``, ``"triton"`` or ``"torch"``), and ``reason``, None where kernels computed it. Empty where the
        layer has no such operation.

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
    before = [(held, name, t) for held in map(buffers_of, modules) for name, t in held.items() if t is not None]
    values = [tensor.detach().clone() for _, _, tensor in before]
    try:
        yield
    finally:
        for (held, name, tensor), value in zip(before, values, strict=True):
            held[name] = tensor
            with torch.no_grad():
                tensor.copy_(value)
