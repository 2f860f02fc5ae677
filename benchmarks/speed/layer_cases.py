"""Every layer on one map, made with its arguments from its registry entry; and the networks that are built of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import attnzoo
import reference_models
from attnzoo import LayerInfo, ops

BATCH, CHANNELS, SIZE = 8, 192, 28
PYRAMID = ((24, 56), (48, 28), (96, 14), (192, 7))
MODES = ("forward", "training")


def names() -> list[str]:
    """Return our layers, then timm's that take such a map as they are by default, and keep its shape."""
    theirs = [name for name in attnzoo.list_layers(filter="timm/*") if _runs(name)]
    return [*attnzoo.list_layers(), *theirs]


def make(info: LayerInfo, batch: int = BATCH) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return the layer with random weights, and random arguments for it."""
    pyramid = info.kind == "pyramid"
    layer = attnzoo.create(info.name, [count for count, _ in PYRAMID] if pyramid else CHANNELS, **info.example)
    x = torch.randn(batch, CHANNELS, SIZE, SIZE)
    inputs: tuple[Any, ...] = (x,)
    if info.kind == "paired":
        inputs = (torch.randn_like(x), x)
    elif info.kind == "guided":
        inputs = (x, (torch.rand(batch, layer.num_maps, SIZE, SIZE) > 0.8).float())
    elif pyramid:
        inputs = ([torch.randn(batch, count, side, side) for count, side in PYRAMID],)
    return layer, inputs


def caller(layer: nn.Module, inputs: tuple[Any, ...], mode: str, backend: str) -> Callable[[], object]:
    """Return a function that runs the layer once; in training forward and backward, from a random gradient."""
    layer = layer.train(mode == "training")

    def infer() -> object:
        with torch.no_grad(), ops.backend(backend):
            return layer(*inputs)

    if mode == "forward":
        return infer
    sources = [leaf.requires_grad_() for leaf in _leaves(inputs)]
    gradients = [torch.randn_like(leaf) for leaf in _leaves(infer())]

    def train() -> object:
        for leaf in (*sources, *layer.parameters()):
            leaf.grad = None
        with ops.backend(backend):
            outputs = list(_leaves(layer(*inputs)))
            torch.autograd.backward(outputs, gradients)
        return outputs

    return train


def networks(info: LayerInfo) -> str:
    """Return the networks whose modules use the layer, by what they are called in their papers."""
    found = []
    for name in reference_models.list_models():
        module = inspect.getmodule(reference_models.model_class(name))
        if info.cls in vars(module).values():
            title = inspect.cleandoc(module.__doc__ or "")
            found.append(title.split(":")[0].split(",")[0])
    return ", ".join(found)


def _leaves(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    for item in value.values() if isinstance(value, dict) else value:
        yield from _leaves(item)


def _runs(name: str) -> bool:
    try:
        layer, inputs = make(attnzoo.layer_info(name), batch=1)
        with torch.no_grad():
            output = layer.eval()(*inputs)
    except (AssertionError, RuntimeError, TypeError, ValueError):  # how timm's layers say that a map does not suit them
        return False
    return isinstance(output, Tensor) and output.shape == inputs[0].shape
