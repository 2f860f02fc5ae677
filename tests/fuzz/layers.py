"""Layers made from arguments of every kind, and called with tensors of every kind."""

from __future__ import annotations

import inspect
import itertools
import typing
import warnings
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

import attnzoo
from tests.layers import cases

DOCUMENTED = (TypeError, ValueError)
"""What layers may raise, from their constructors and from ``forward``."""
_FACTORY = {"device", "dtype"}
_ANY = st.sampled_from(
    (
        *(None, True, False, 0, 1, 2, 3, 4, 5, 7, -1, 0.5, 1 / 16, 1.0, 2.5, -0.5, float("nan"), float("inf"), 1j),
        *("", "add", "res", "vector", "2", b"x", [], (), {}, {"top": 1}, {"a": (0, 1)}, {1: (0.1, 0.5)}, [1, 2], (3,)),
        *(object, nn.ReLU, nn.Sigmoid, nn.BatchNorm2d, nn.Identity, torch.zeros(2), lambda *_, **__: nn.Identity()),
    )
)
_CHANNELS = st.one_of(st.integers(1, 24), st.integers(-2, 24), st.lists(st.integers(0, 12), max_size=4), _ANY)
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64)


def call(data: st.DataObject, name: str) -> int:
    """Make a layer, and if it could be made call it; return how many calls that were.

    Raises:
        Exception: Whatever is not documented.
    """
    info = attnzoo.layer_info(name)
    draw = data.draw
    parameters = list(inspect.signature(info.cls).parameters.values())[1:]
    names = draw(st.lists(st.sampled_from([p.name for p in parameters]), max_size=3, unique=True))
    hints = typing.get_type_hints(info.cls.__init__)
    options = {key: draw(_values(key, hints.get(key))) for key in names}
    fitting = st.lists(st.integers(1, 12), min_size=2, max_size=4) if info.kind == "pyramid" else st.integers(1, 24)
    channels = draw(fitting if draw(st.integers(0, 3)) else _CHANNELS)
    try:
        layer = attnzoo.create(name, channels, **{**info.example, **options})
    except DOCUMENTED:
        return 1
    layer.train(draw(st.booleans()))
    arguments = _arguments(info, layer, draw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            list(cases.leaves(layer(*arguments)))
    except DOCUMENTED:
        pass
    return 2


def _values(key: str, hint: Any) -> st.SearchStrategy:
    """Return values for an option: those that its annotation allows, and any others."""
    if key == "device":
        return st.sampled_from((None, "cpu", torch.device("cpu")))
    if key == "dtype":
        return st.sampled_from((None, torch.float32, torch.float64, torch.bfloat16))
    literals = [value for each in (hint, *typing.get_args(hint)) for value in _literals(each)]
    return st.one_of(_ANY, st.sampled_from(literals)) if literals else _ANY


def _literals(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _arguments(info: attnzoo.LayerInfo, layer: nn.Module, draw: Callable[..., Any]) -> tuple[Any, ...]:
    """Return arguments that would fit, and in many cases one of them replaced by something else."""
    batch, height, width = (draw(st.integers(least, 5)) for least in (0, 1, 1))
    weight = next(layer.parameters(), torch.zeros(0))
    arguments = cases.inputs(info, layer, batch, (height, width), weight.dtype)
    for _ in range(draw(st.integers(0, 2))):
        change = draw(st.sampled_from(_CHANGES))
        index = draw(st.integers(0, 5))
        arguments = _with_one_changed(arguments, change, index % 2)
        if not all(isinstance(each, torch.Tensor | list | tuple | dict) for each in arguments):
            return arguments
        if not all(_dense(leaf) for each in arguments for leaf in _flat(each)):
            return arguments
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(((), arguments * 2, (None,), ([],), (arguments,), (arguments[0], 0.5))))
    return arguments


def _with_one_changed(arguments: Any, change: Callable[[torch.Tensor], Any], index: int) -> Any:
    number = itertools.count()
    return cases.mapped(arguments, lambda x: change(x) if next(number) == index else x)


def _dense(value: Any) -> bool:
    """Whether the changes can change it further."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _flat(value: Any) -> list[Any]:
    return [value] if not isinstance(value, list | tuple) else [leaf for each in value for leaf in _flat(each)]


_CHANGES: tuple[Callable[[torch.Tensor], Any], ...] = (
    *(lambda x, dtype=dtype: x.to(dtype) for dtype in _DTYPES),
    lambda x: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x,
    lambda x: x.transpose(-1, -2) if x.dim() > 1 else x,
    lambda x: x[..., :0],
    lambda x: x[:, :1] if x.dim() > 1 else x,
    lambda x: x.expand(3, *x.shape[1:]) if x.dim() and x.shape[0] == 1 else x[:1],
    lambda x: x.flatten(1) if x.dim() > 1 else x,
    lambda x: x[None],
    lambda x: x * float("nan") if x.is_floating_point() else x,
    lambda x: x * float("inf") if x.is_floating_point() else x,
    lambda x: x.requires_grad_() if x.is_floating_point() and x.is_leaf else x,
    lambda x: x.to_sparse() if x.numel() else x,
    lambda x: x.tolist(),
    lambda x: x.numpy() if not x.requires_grad and x.dtype != torch.bfloat16 and not x.is_sparse else x,
    lambda _: None,
)
