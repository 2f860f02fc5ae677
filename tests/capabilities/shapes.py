"""Odd sizes, no sample and one sample, and numbers that are none."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.capabilities.subjects import Subject
from tests.capabilities.table import capability
from tests.layers import cases


@capability("odd sizes")
@torch.no_grad()
def odd_sizes(subject: Subject) -> None:
    """Finite outputs at sizes that nothing divides."""
    module = subject.make("cpu")
    for size in subject.odd:
        for output in cases.leaves(module(*subject.inputs(module, 2, size))):
            assert output.shape[0] == 2
            assert bool(output.isfinite().all()), f"a value is not finite at {size}"


@capability("B = 0")
def no_sample(subject: Subject) -> None:
    """An empty batch gives empty outputs, and gradients of zero."""
    module = subject.make("cpu")
    some = module(*subject.inputs(module, 2, subject.size))
    none = module(*cases.mapped(subject.inputs(module, 0, subject.size), Tensor.requires_grad_))
    for full, empty in zip(cases.leaves(some), cases.leaves(none), strict=True):
        assert empty.shape == (0, *full.shape[1:])
    cases.with_random_gradient(none)
    assert not any(bool(p.grad.any()) for p in module.parameters() if p.grad is not None), "a gradient is not zero"


@capability("B = 1")
@torch.no_grad()
def one_sample(subject: Subject) -> None:
    """A sample alone gives what it gives among others."""
    module = subject.make("cpu")
    arguments = subject.inputs(module, 3, subject.size)
    alone = list(cases.leaves(module(*cases.mapped(arguments, lambda x: x[1:2]))))
    among = [output[1:2] for output in cases.leaves(module(*arguments))]
    torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-5)


@capability("NaN stays visible")
def nan(subject: Subject) -> None:
    """NaN in a sample reaches its output, and no other sample's."""
    _poisoned(subject, torch.nan)


@capability("infinity stays visible")
def infinity(subject: Subject) -> None:
    """Infinity in a sample reaches its output as infinity or NaN, and no other sample's."""
    _poisoned(subject, torch.inf)


@torch.no_grad()
def _poisoned(subject: Subject, poison: float) -> None:
    module = subject.make("cpu")
    clean = subject.inputs(module, 2, subject.size)
    expected = [output[1] for output in cases.leaves(module(*clean))]
    for index in range(len(list(cases.leaves(clean)))):
        arguments = cases.mapped(clean, Tensor.clone)
        list(cases.leaves(arguments))[index][0, -1, 1, 2] = poison
        outputs = list(cases.leaves(module(*arguments)))
        assert any(not bool(output[0].isfinite().all()) for output in outputs), f"input {index}: {poison} is lost"
        torch.testing.assert_close([output[1] for output in outputs], expected, rtol=1e-5, atol=1e-5)
