"""Makes every registered layer, and inputs for it, from nothing but its registry entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnzoo import LayerInfo, create, layer_info, list_layers

CHECKS: set[str] = set()
"""Names of all contract checks, which are the names that ``LayerInfo.exceptions`` may hold."""


def contract(check: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test as ``check`` on each registered layer.

    A layer that declares an exception must really fail: an exception that is no longer needed turns the suite red.
    """
    CHECKS.add(check)
    params = []
    for name in list_layers():
        info = layer_info(name)
        declared = info.exceptions.get(check)
        marks = [pytest.mark.xfail(strict=True, reason=declared)] if declared else []
        params.append(pytest.param(info, id=name, marks=marks))
    return pytest.mark.parametrize("info", params)


def make(info: LayerInfo, channels: int = 48, **kwargs: Any) -> nn.Module:
    """Return the layer in eval mode, with random parameters and statistics, so that no term is 0 or 1 by chance."""
    counts = [channels, 2 * channels] if info.kind == "pyramid" else channels
    return randomise(create(info.name, counts, **{**info.example, **kwargs})).eval()


def randomise(layer: nn.Module) -> nn.Module:
    """Move every parameter and every running statistic away from its initial value."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        for name, buffer in layer.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(torch.randn_like(buffer) * 0.2)
            elif name.endswith("running_var"):
                buffer.mul_(torch.rand_like(buffer) + 0.5)
    return layer


def inputs(
    info: LayerInfo,
    layer: nn.Module,
    batch: int = 2,
    size: tuple[int, int] = (7, 5),
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> tuple[Any, ...]:
    """Return random arguments for the layer's ``forward``, by its kind."""

    def draw(channels: int, height: int, width: int) -> Tensor:
        return torch.randn(batch, channels, height, width, dtype=torch.float64).to(device, dtype)

    height, width = size
    if info.kind == "pyramid":
        return ([draw(c, -(-height // 2**i), -(-width // 2**i)) for i, c in enumerate(layer.channels)],)
    x = draw(layer.channels, height, width)
    if info.kind == "paired":
        return (draw(layer.channels, height, width), x)
    if info.kind == "guided":
        return (x, (draw(layer.num_maps, height, width) > 0).to(dtype))
    return (x,)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let torch make tensors of another dtype where none is named."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def leaves(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of an argument or an output, whether it is a tensor, a sequence or a mapping."""
    if isinstance(value, Tensor):
        yield value
        return
    for item in value.values() if isinstance(value, dict) else value:
        yield from leaves(item)


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with ``function`` applied to each of its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: mapped(item, function) for key, item in value.items()}
    return type(value)(mapped(item, function) for item in value)


def kept_maps(info: LayerInfo, arguments: Sequence[Any]) -> list[Tensor]:
    """Return the inputs whose shape, dtype, device and memory format the outputs keep, one or one for each output."""
    return list(leaves(arguments[1] if info.kind == "paired" else arguments[0]))


def pairs(info: LayerInfo, arguments: Sequence[Any], output: Any) -> list[tuple[Tensor, Tensor]]:
    """Return (input, output) for each output tensor."""
    outputs, kept = list(leaves(output)), kept_maps(info, arguments)
    if info.kind == "split" or len(outputs) != len(kept):
        kept = kept[:1] * len(outputs)
    return list(zip(kept, outputs, strict=True))


def with_random_gradient(output: Any) -> None:
    """Run backward from a random gradient: under ``.sum()`` a backward that ignores it would pass."""
    tensors = list(leaves(output))
    torch.autograd.backward(tensors, [torch.randn(t.shape, dtype=t.dtype, device=t.device) for t in tensors])
