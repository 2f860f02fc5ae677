"""The source of attached layers: a registry name, a class or a factory, with one interface."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from attnzoo import registry
from attnzoo.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Creates the layers of one attachment.

    Attributes:
        name: Registry name, or the qualified name of a class or factory that is not registered.
        kind: The layer's kind; see :data:`attnzoo.kinds.Kind`.
        kwargs: Keyword arguments of every layer.
        factory: Called as ``factory(channels, **kwargs)``.
    """

    name: str
    kind: Kind
    kwargs: Mapping[str, Any]
    factory: Callable[..., nn.Module]

    def make(self, channels: int | Sequence[int], device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return a new layer for ``channels`` (for a pyramid one count per map), on ``device``, in ``dtype``.

        Raises:
            TypeError: If the factory returns no ``nn.Module``, or a keyword argument is unknown.
        """
        parameters = inspect.signature(self.factory).parameters
        placed = {"device": device, "dtype": dtype}
        kwargs = {key: value for key, value in placed.items() if key in parameters} | dict(self.kwargs)
        if self.name in registry.list_layers() or self.name.startswith("timm/"):
            layer = registry.create(self.name, channels, **kwargs)
        else:
            layer = self.factory(channels, **kwargs)
        if not isinstance(layer, nn.Module):
            raise TypeError(f"layer must make an nn.Module, {self.name} returned {layer!r}")
        return layer.to(device=device, dtype=dtype)


def layer_source(layer: str | Callable[..., nn.Module], kwargs: Mapping[str, Any]) -> Source:
    """Return the source of ``layer``.

    Args:
        layer: Registry name, ``nn.Module`` class, or callable ``(channels, **kwargs) -> nn.Module``.
        kwargs: Keyword arguments of every layer.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If ``layer`` is none of these, or a module instance: each site needs a separate layer.
    """
    if isinstance(layer, str):
        info = registry.layer_info(layer)
        return Source(name=info.name, kind=info.kind, kwargs=dict(kwargs), factory=info.cls)
    if isinstance(layer, nn.Module):
        raise TypeError(
            f"layer must be a registry name, a class or a factory, got an instance of {type(layer).__name__}: each "
            "site needs a layer of its own"
        )
    if not callable(layer):
        raise TypeError(f"layer must be a registry name, a class or a factory, got {layer!r}")
    for info in map(registry.layer_info, registry.list_layers()):
        if info.cls is layer:
            return Source(name=info.name, kind=info.kind, kwargs=dict(kwargs), factory=layer)
    name = getattr(layer, "__qualname__", type(layer).__qualname__)
    module = getattr(layer, "__module__", type(layer).__module__)
    return Source(name=f"{module}.{name}", kind="unary", kwargs=dict(kwargs), factory=layer)
