"""The contract of every registered layer: shapes, values across layouts and dtypes, gradients.

Nothing here names a layer: inputs come from its kind, exceptions from its registry entry.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from attnzoo import LayerInfo, create, layer_info, list_layers
from tests.capabilities.table import EXCEPTIONS
from tests.layers import (
    cases,
    test_contract_transforms,  # noqa: F401 - its checks count too
)
from tests.layers.cases import contract

ODD_SIZES = [(1, (7, 5)), (2, (1, 9)), (2, (1, 1)), (1, (1, 1)), (0, (7, 5))]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def test_every_declared_exception_is_a_check_with_a_reason():
    for name in list_layers():
        for check, reason in layer_info(name).exceptions.items():
            assert check in cases.CHECKS | EXCEPTIONS, (name, check)
            assert len(reason) > 20, (name, check)


@contract("signature")
def test_all_but_channels_is_keyword_only(info: LayerInfo):
    channels, *rest = inspect.signature(info.cls).parameters.values()
    assert channels.name == "channels"
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in rest)
    assert {"device", "dtype"} <= {parameter.name for parameter in rest}


@contract("misspelt_keyword")
def test_misspelt_keyword_raises(info: LayerInfo):
    channels = [6, 12] if info.kind == "pyramid" else 6
    with pytest.raises(TypeError, match=rf"'{info.name}' takes no argument 'devise'; did you mean device.*allowed: "):
        create(info.name, channels, **info.example, devise="cpu")
    with pytest.raises(TypeError, match="devise"):
        info.cls(channels, **info.example, devise="cpu")


@contract("bool_channels")
def test_bool_is_no_channel_count(info: LayerInfo):
    with pytest.raises(TypeError, match=r"channels.*True"):
        info.cls([True, 6] if info.kind == "pyramid" else True, **info.example)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@contract("keeps")
def test_keeps_what_it_says(info: LayerInfo, dtype: torch.dtype):
    layer = cases.make(info, dtype=dtype)
    arguments = cases.inputs(info, layer, dtype=dtype)
    output = layer(*arguments)
    assert list(cases.leaves(output)), "no output at all"
    for given, got in cases.pairs(info, arguments, output):
        assert ("shape" in info.keeps) == (got.shape == given.shape)
        assert ("dtype" in info.keeps) == (got.dtype == given.dtype)
        assert ("device" in info.keeps) == (got.device == given.device)
        assert bool(got.isfinite().all())


@contract("memory_format")
def test_channels_last_gives_the_same_and_stays_channels_last(info: LayerInfo):
    layer = cases.make(info)
    arguments = cases.inputs(info, layer)
    expected = layer(*arguments)
    last = cases.mapped(arguments, lambda x: x.contiguous(memory_format=torch.channels_last))
    got = layer.to(memory_format=torch.channels_last)(*last)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    if "memory_format" in info.keeps:
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in cases.leaves(got))
        assert all(x.is_contiguous() for x in cases.leaves(expected))


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "sliced": lambda x: torch.stack([x, x + 1], dim=-1).flatten(3)[..., ::2],
    "offset": lambda x: torch.cat([x[:, :1], x], dim=1)[:, 1:],
}


@pytest.mark.parametrize("view", VIEWS)
@contract("non_contiguous")
def test_non_contiguous_gives_the_same(info: LayerInfo, view: str):
    layer = cases.make(info)
    arguments = cases.inputs(info, layer, size=(7, 6))
    strided = cases.mapped(arguments, VIEWS[view])
    assert not any(x.is_contiguous() for x in cases.leaves(strided))
    torch.testing.assert_close(layer(*strided), layer(*arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("batch", "size"), ODD_SIZES, ids=str)
@contract("odd_sizes")
def test_odd_sizes(info: LayerInfo, batch: int, size: tuple[int, int]):
    layer = cases.make(info)
    arguments = cases.inputs(info, layer, batch, size)
    for given, got in cases.pairs(info, arguments, layer(*arguments)):
        assert got.shape[0] == batch
        assert bool(got.isfinite().all())
        if "shape" in info.keeps:
            assert got.shape == given.shape


DEFAULTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "half precision": lambda: cases.default_dtype(torch.float16),
    "double precision": lambda: cases.default_dtype(torch.float64),
    "another device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("default", DEFAULTS)
@contract("defaults")
def test_torchs_defaults_change_nothing(info: LayerInfo, default: str):
    layer = cases.make(info)
    layer.to(memory_format=torch.channels_last)
    arguments = cases.inputs(info, layer, 8, (40, 40))
    for last in (False, True):
        given = arguments if not last else cases.mapped(arguments, lambda x: x.to(memory_format=torch.channels_last))
        for training in (False, True):
            found = [
                _outputs_and_gradients(copy.deepcopy(layer).train(training), given, each)
                for each in (nullcontext, DEFAULTS[default])
            ]
            for got, expected in zip(*reversed(found), strict=True):
                assert got.dtype == expected.dtype
                assert got.device == expected.device
                torch.testing.assert_close(got, expected)


def _outputs_and_gradients(
    layer: nn.Module, arguments: tuple[Any, ...], defaults: Callable[[], AbstractContextManager[object]]
) -> list[Tensor]:
    arguments = require_grad(arguments)
    with defaults():
        outputs = list(cases.leaves(layer(*arguments)))
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    return [*outputs, *(p.grad for p in layer.parameters() if p.grad is not None)]


@contract("train_one_value")
def test_one_value_a_channel_in_training(info: LayerInfo):
    layer = cases.make(info).train()
    cases.with_random_gradient(layer(*require_grad(cases.inputs(info, layer, 1, (1, 1)))))


@contract("train_empty_batch")
def test_empty_batch_in_training(info: LayerInfo):
    layer = cases.make(info).train()
    cases.with_random_gradient(layer(*require_grad(cases.inputs(info, layer, 0))))
    assert all(bool(value.isfinite().all()) for value in layer.state_dict().values())


@contract("samples_apart")
def test_a_sample_does_not_depend_on_its_neighbours(info: LayerInfo):
    layer = cases.make(info, dtype=torch.float64)
    arguments = cases.inputs(info, layer, 3, dtype=torch.float64)
    alone = layer(*cases.mapped(arguments, lambda x: x[1:2]))
    torch.testing.assert_close(cases.mapped(layer(*arguments), lambda x: x[1:2]), alone, rtol=1e-12, atol=1e-12)


@contract("acts")
def test_output_differs_from_the_input(info: LayerInfo):
    layer = cases.make(info)
    arguments = cases.inputs(info, layer)
    for given, got in cases.pairs(info, arguments, layer(*arguments)):
        assert got.shape != given.shape or not torch.allclose(got, given, rtol=1e-3, atol=1e-3)


@contract("pure")
def test_inputs_are_left_as_they_are(info: LayerInfo):
    layer = cases.make(info).train()
    arguments = cases.inputs(info, layer)
    before = cases.mapped(arguments, Tensor.clone)
    layer(*arguments)
    torch.testing.assert_close(arguments, before, rtol=0, atol=0)


@contract("output_in_place")
def test_output_may_be_changed_in_place(info: LayerInfo):
    """Backbones do it: ``x += shortcut``, and then a ReLU in place."""
    layer = cases.make(info)
    arguments = require_grad(cases.inputs(info, layer))
    output = layer(*arguments)
    for tensor in cases.leaves(output):
        tensor.add_(1.0).relu_()
    cases.with_random_gradient(output)
    assert all(p.grad is not None for p in layer.parameters())


@contract("nan")
def test_nan_reaches_the_output_of_its_sample_only(info: LayerInfo):
    layer = cases.make(info)
    for index in range(len(list(cases.leaves(cases.inputs(info, layer))))):
        arguments = cases.inputs(info, layer)
        list(cases.leaves(arguments))[index][0, -1, 1, 2] = torch.nan
        outputs = list(cases.leaves(layer(*arguments)))
        assert any(bool(x[0].isnan().any()) for x in outputs), f"input {index}: NaN is lost"
        assert not any(bool(x[1].isnan().any()) for x in outputs), f"input {index}: NaN spreads to another sample"


def require_grad(arguments: tuple) -> tuple:
    return cases.mapped(arguments, lambda x: x.detach().requires_grad_())


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@contract("gradcheck")
def test_gradcheck(info: LayerInfo, training: bool):
    layer = cases.make(info, 6, dtype=torch.float64).train(training)
    arguments = require_grad(cases.inputs(info, layer, 2, (3, 2), torch.float64))
    names = [name for name, _ in layer.named_parameters()]
    count = len(list(cases.leaves(arguments)))

    def run(*flat: Tensor) -> tuple[Tensor, ...]:
        values = iter(flat[:count])
        state = dict(layer.named_buffers()) | dict(zip(names, flat[count:], strict=True))
        return tuple(cases.leaves(functional_call(layer, state, cases.mapped(arguments, lambda _: next(values)))))

    assert torch.autograd.gradcheck(run, (*cases.leaves(arguments), *layer.parameters()))


@contract("gradients")
def test_every_parameter_and_input_gets_a_gradient(info: LayerInfo):
    layer = cases.make(info)
    arguments = require_grad(cases.inputs(info, layer, 4))
    cases.with_random_gradient(layer(*arguments))
    for name, tensor in [*layer.named_parameters(), *enumerate(cases.leaves(arguments))]:
        assert tensor.grad is not None, name
        assert bool(tensor.grad.isfinite().all()), name
        assert bool(tensor.grad.any()), name


@contract("reset_parameters")
def test_reset_parameters_draws_what_the_constructor_draws(info: LayerInfo):
    channels = [48, 96] if info.kind == "pyramid" else 48
    torch.manual_seed(1)
    fresh = create(info.name, channels, **info.example)
    if not list(fresh.parameters()):
        return
    other = cases.randomise(create(info.name, channels, **info.example))
    torch.manual_seed(1)
    other.reset_parameters()
    torch.testing.assert_close(other.state_dict(), fresh.state_dict(), rtol=0, atol=0)
