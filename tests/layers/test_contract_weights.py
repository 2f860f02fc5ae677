"""The contract of every registered layer whose parameters somebody has quantised or sharded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnzoo import LayerInfo
from tests.layers import cases
from tests.layers.cases import contract
from tests.ops.halved import Halved, HalvedWeight


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(7, 5), (40, 40)], ids=str)
@contract("quantised_weights")
def test_quantised_weights_are_worth_what_they_say(info: LayerInfo, size: tuple[int, int], training: bool):
    plain = cases.make(info).half().float().to(memory_format=torch.channels_last).train(training)
    layer = copy.deepcopy(plain)
    for module in layer.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(HalvedWeight(parameter.detach().half()), requires_grad=False))
        for name, buffer in () if training else list(module.named_buffers(recurse=False)):
            if buffer.is_floating_point():
                module.register_buffer(name, HalvedWeight(buffer.half()))
    arguments = cases.inputs(info, layer, 4, size)
    with torch.no_grad():
        torch.testing.assert_close(layer(*_given(arguments)), plain(*_given(arguments)), rtol=1e-4, atol=1e-4)
    outputs, gradients = _gradients(layer, _given(arguments), torch.ones_like)
    expected, by_plain = _gradients(plain, _given(arguments), torch.ones_like)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients, by_plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@contract("quantised_gradients")
def test_gradients_without_memory_are_followed(info: LayerInfo, memory_format: torch.memory_format):
    layer = cases.make(info).train().to(memory_format=memory_format)
    arguments = cases.inputs(info, layer, 4, (40, 40))
    _, gradients = _gradients(layer, _given(arguments, memory_format), lambda y: Halved(torch.ones_like(y).half()))
    _, expected = _gradients(layer, _given(arguments, memory_format), torch.ones_like)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-3)


def _given(arguments: tuple[Any, ...], memory_format: torch.memory_format = torch.channels_last) -> Any:
    return cases.mapped(arguments, lambda x: x.clone(memory_format=memory_format))


def _gradients(
    layer: nn.Module, arguments: Any, gradient: Callable[[Tensor], Tensor]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return what a layer makes, and the gradients of what it was given."""
    given = [x.requires_grad_() for x in cases.leaves(arguments)]
    outputs = list(cases.leaves(layer(*arguments)))
    torch.autograd.backward(outputs, [gradient(y) for y in outputs])
    return outputs, [x.grad for x in given]
