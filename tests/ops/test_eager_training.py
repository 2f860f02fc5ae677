"""The way past Python to the kernel of a gate's gradients: the same to the bit, and Python where it must decide."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnzoo import CBAM
from attnzoo.ops import eager
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.ops.test_eager import DTYPES, FORMATS, Marked, gated, python_alone
from tests.ops.test_gate_images import LAYERS

pytestmark = [
    native_only,
    pytest.mark.skipif(eager.missing() is not None, reason=str(eager.missing())),
]


def step(layer: nn.Module, x: Tensor, dy: Tensor, wanted: Callable[[str], bool]) -> dict[str, Tensor | None]:
    """Return the gated map, the gradients and the statistics behind a step of a copy of the layer."""
    layer, leaf = copy.deepcopy(layer), x.detach().clone().requires_grad_(wanted("x"))
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(wanted(name))
    y = layer(leaf)
    y.backward(dy)
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {"y": y.detach(), "x": leaf.grad, **gradients, **dict(layer.named_buffers())}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each backward pass whether it went past Python."""
    seen: list[bool] = []
    original = eager.gradients

    def noted(*arguments: Any) -> Any:
        found = original(*arguments)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(eager, "gradients", noted)
    return seen


WANTED: dict[str, Callable[[str], bool]] = {
    "everything": lambda _: True,
    "the map's alone": lambda name: name == "x",
    "weights' alone": lambda name: name != "x",
    "some": lambda name: "bias" in name or "conv" in name or name == "x",
}


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_statistics_are_the_same_to_the_bit(
    name: str, dtype: torch.dtype, training: bool, wanted: str, taken: list[bool]
):
    for shape in ((2, 21, 9, 11), (3, 64, 7, 7), (6, 5, 1, 1)):
        layer = randomise(LAYERS[name](shape[1], rd_channels=max(2, shape[1] // 4))).to(dtype).train(training)
        for last in (False, True):
            x, dy = (each.contiguous(memory_format=FORMATS[last]) for each in torch.randn(2, *shape).to(dtype))
            ours = step(layer, x, dy, WANTED[wanted])
            assert taken.pop()
            with python_alone():
                expected = step(layer, x, dy, WANTED[wanted])
            for key, value in expected.items():
                assert (value is None) == (ours[key] is None), key
                assert value is None or torch.equal(ours[key], value), key
            assert ours["y"].stride() == x.stride()


def test_gradients_of_any_order_and_subclasses_are_left_to_python(taken: list[bool]):
    layer, x = randomise(CBAM(12)).train(), torch.randn(2, 12, 5, 6)
    whole = lambda _: True  # noqa: E731
    orders = (
        torch.randn(1, 1, 5, 6).expand(2, 12, 5, 6),
        torch.randn(2, 12, 6, 5).transpose(2, 3),
        torch.randn(2, 12, 5, 6).contiguous(memory_format=torch.channels_last),
        torch.randn(2, 12, 5, 12)[..., ::2],
    )
    for dy in orders:
        ours = step(layer, x, dy, whole)
        assert not taken.pop()
        for key, value in step(layer, x, dy.contiguous(), whole).items():
            assert torch.equal(ours[key], value), key
    expected = step(layer, x, orders[0].contiguous(), whole)
    del taken[:]
    for key, value in step(layer, x, orders[0].as_subclass(Marked), whole).items():
        torch.testing.assert_close(value.as_subclass(Tensor), expected[key], rtol=1e-4, atol=1e-5)
    assert taken == []


def test_weights_of_any_strides_have_gradients_like_themselves(taken: list[bool]):
    layer = randomise(CBAM(12, kernel_size=3)).train()
    layer.spatial.conv.weight = nn.Parameter(torch.randn(1, 2, 3, 3).to(memory_format=torch.channels_last))
    x, dy = torch.randn(2, 2, 12, 5, 6)
    ours = step(layer, x, dy, lambda _: True)
    assert taken.pop()
    with python_alone():
        expected = step(layer, x, dy, lambda _: True)
    assert torch.equal(ours["spatial.conv.weight"], expected["spatial.conv.weight"])


def test_graphs_are_gone_through_twice_and_differentiated_twice(taken: list[bool]):
    layer, x = randomise(CBAM(12)).train(), torch.randn(2, 12, 5, 6, requires_grad=True)
    y = layer(x)
    (once,) = torch.autograd.grad(y.sin().sum(), x, retain_graph=True)
    (again,) = torch.autograd.grad(y.sin().sum(), x, retain_graph=True)
    assert taken == [True, True]
    assert torch.equal(once, again)
    (first,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    assert taken == [True, True]  # a second derivative is wanted
    torch.testing.assert_close(first, once, rtol=1e-4, atol=1e-5)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()


def test_checkpoints_and_hooks_on_what_is_saved(taken: list[bool]):
    layer, x, dy = randomise(CBAM(12)).train(), *torch.randn(2, 2, 12, 5, 6)
    expected = step(layer, x, dy, lambda _: True)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        kept.append(tensor.clone())
        return len(kept) - 1

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda index: kept[index]):
        elsewhere = step(layer, x, dy, lambda _: True)
    assert taken == [True, True]
    leaf = x.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(layer, leaf, use_reentrant=False).backward(dy)
    for found in (elsewhere["x"], leaf.grad):
        assert torch.equal(found, expected["x"])


def test_what_was_changed_meanwhile_is_an_error():
    layer, x = randomise(CBAM(12)).train(), torch.randn(2, 12, 5, 6, requires_grad=True)
    y = layer(x)
    with torch.no_grad():
        layer.channel.fc1.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_without_a_wish_there_is_no_graph():
    layer, x = randomise(CBAM(12)).requires_grad_(requires_grad=False).train(), torch.randn(2, 12, 5, 6)
    y = gated(layer, x)
    assert type(y) is Tensor
    assert not y.requires_grad


def test_what_is_given_counts_and_not_where_the_record_points():
    layer, x, dy = randomise(CBAM(12, rd_channels=3, kernel_size=3)).train(), *torch.randn(2, 2, 12, 5, 6)
    _, state, record, norm, weights = gated(layer, x)
    expected = eager.gradients(record, dy, x, weights, state, norm, (True,) * 8)
    moved = [None if weight is None else weight.detach().clone() for weight in weights]
    moved[4] = moved[4].contiguous(memory_format=torch.channels_last)  # the convolution's
    elsewhere = (dy, x.clone(), tuple(moved), state.clone(), norm)
    with torch.no_grad():
        for old in (x, state, *(weight for weight in weights if weight is not None)):
            old.zero_()
    for wanted in ((True,) * 8, (False, True) * 4):
        found = eager.gradients(record, *elsewhere, wanted)
        for got, value, wants in zip(found, expected, (True, *wanted), strict=True):
            assert (got is None) == (value is None or not wants)
            assert got is None or torch.equal(got, value)


def test_wrong_arguments_of_the_gradients_are_an_error_or_left_to_python():
    layer, x, dy = randomise(CBAM(12, rd_channels=3)).train(), *torch.randn(2, 2, 12, 5, 6)
    _, state, record, norm, weights = gated(layer, x)
    right = (record, dy, x, weights, state, norm, (True,) * 8)
    assert eager.gradients(*right) is not None
    with pytest.raises(TypeError, match="takes 7 arguments, got 1"):
        eager.gradients(x)
    wrong: tuple[tuple[object, ...], ...] = (
        (record[:-1], record + b"0", b"", "record", None),
        (dy[:1], dy.bfloat16(), dy.flatten(2), dy.reshape(2, 12, 6, 5), None, 1.0),
        (x[:1], x.double(), x.mT, None),
        (weights[:-1], list(weights), None, (None, *weights[1:]), (*weights[:7], None), (*weights[:7], torch.ones(2)),
         (weights[1], weights[0], *weights[2:]), (weights[0][:1], *weights[1:])),
        (state[:-1], state.double(), None),
        (None, (None,)),
        ((True,) * 7, [True] * 8, None),
    )  # fmt: skip
    for place, values in enumerate(wrong):
        for value in values:
            assert eager.gradients(*right[:place], value, *right[place + 1 :]) is None, (place, value)
