"""Modules run in eager mode: alone, twice, by checkpointing, in other dtypes and layouts."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.capabilities.subjects import Subject
from tests.capabilities.table import capability
from tests.layers import cases


def outputs_and_gradients(module: nn.Module, arguments: tuple[Any, ...], call: Any = None) -> list[Tensor]:
    """Return the outputs and then every gradient, from random gradients that depend on the seed alone."""
    module.zero_grad()
    own = cases.mapped(arguments, lambda x: x.detach().clone().requires_grad_())
    output = (module if call is None else call)(*own)
    torch.manual_seed(3)
    cases.with_random_gradient(output)
    asked = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = [tensor.grad for tensor in (*asked, *cases.leaves(own))]
    if any(gradient is None for gradient in gradients):
        raise AssertionError("a parameter or an input got no gradient")
    return [*(x.detach() for x in cases.leaves(output)), *(gradient.clone() for gradient in gradients)]


@capability("eager")
def eager(subject: Subject) -> None:
    """Forward and backward in training: all finite, every parameter reached."""
    module = subject.make("cpu").train()
    for tensor in outputs_and_gradients(module, subject.inputs(module, 4, subject.size)):
        assert bool(tensor.isfinite().all()), "a value is not finite"


@capability("AMP bf16")
def bf16(subject: Subject) -> None:
    """Close to float32 under autocast, and trains."""
    _autocast(subject, torch.bfloat16, 2**-5)


@capability("AMP fp16")
def fp16(subject: Subject) -> None:
    """Close to float32 under autocast, and trains."""
    _autocast(subject, torch.float16, 2**-8)


def _autocast(subject: Subject, dtype: torch.dtype, tolerance: float) -> None:
    module = subject.make("cpu")
    arguments = subject.inputs(module, 2, subject.size)
    with torch.no_grad():
        expected = list(cases.leaves(module(*arguments)))
    with torch.autocast("cpu", dtype):
        tensors = outputs_and_gradients(module, arguments)
    for got, want in zip(tensors, expected, strict=False):
        error = float((got.float() - want).norm() / want.norm())
        assert error < tolerance, f"relative error {error:.1e}, more than {tolerance:.1e}"
    assert all(bool(tensor.isfinite().all()) for tensor in tensors), "a value is not finite"


@capability("channels-last")
def channels_last(subject: Subject) -> None:
    """The same values, from maps and weights in channels-last order."""
    module = subject.make("cpu")
    arguments = subject.inputs(module, 2, subject.size)
    expected = outputs_and_gradients(module, arguments)
    module.to(memory_format=torch.channels_last)
    last = cases.mapped(arguments, lambda x: x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(outputs_and_gradients(module, last), expected, rtol=1e-4, atol=1e-4)


@capability("deterministic algorithms")
def deterministic(subject: Subject) -> None:
    """Allowed by ``torch.use_deterministic_algorithms``, and two steps of training are the same to the bit."""
    module = subject.make("cpu").train()
    twin = copy.deepcopy(module)
    arguments = subject.inputs(module, 4, subject.size)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (outputs_and_gradients(each, arguments) for each in (module, twin))
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@capability("checkpointing")
def checkpointing(subject: Subject) -> None:
    """Recomputed in the backward pass by ``torch.utils.checkpoint``: the same values."""
    module = subject.make("cpu")
    arguments = subject.inputs(module, 2, subject.size)
    expected = outputs_and_gradients(module, arguments)
    again = outputs_and_gradients(module, arguments, lambda *own: checkpoint(module, *own, use_reentrant=False))
    torch.testing.assert_close(again, expected, rtol=1e-5, atol=1e-5)
