"""The registry of attention layers: names, descriptions, and :func:`create`.

Layers are registered where they are defined, by a decorator; attnzoo's layers are imported at the first use of the
registry. timm's attention layers are available as ``timm/<name>``; they are looked up in the installed timm, which is
imported only for such a name.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

from torch import nn

from attnzoo import timm_layers
from attnzoo.kinds import Kind

Kept = Literal["shape", "dtype", "device", "memory_format"]
"""A property that the output shares with the input."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LayerClass = TypeVar("_LayerClass", bound=type[nn.Module])
_registered: dict[str, LayerInfo] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """Description of one attention layer.

    Attributes:
        name: Registry key, snake_case, or ``timm/<name>``.
        cls: The class, or for some layers of timm a factory, called as ``cls(channels, **kwargs)``.
        kind: The inputs and outputs of ``forward``; see :data:`Kind`.
        paper: Authors, title and year.
        summary: One line.
        keeps: Properties that the output shares with the input.
        exceptions: Contract checks that this layer does not pass, each with its reason.
        example: Keyword arguments for creating the layer when only a channel count is known (in tables and tests).
    """

    name: str
    cls: Callable[..., nn.Module]
    kind: Kind
    paper: str
    summary: str
    keeps: frozenset[Kept] = frozenset(get_args(Kept))
    exceptions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    example: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def register(
    name: str,
    *,
    kind: Kind,
    paper: str,
    summary: str,
    keeps: Iterable[Kept] = get_args(Kept),
    exceptions: Mapping[str, str] | None = None,
    example: Mapping[str, Any] | None = None,
) -> Callable[[_LayerClass], _LayerClass]:
    """Register the decorated ``nn.Module`` class under ``name``.

    The class is called as ``cls(channels, **kwargs)``: one positional argument, the rest keyword-only.

    Args:
        name: snake_case key that is not taken yet.
        kind: The inputs and outputs of ``forward``; see :data:`Kind`.
        paper: Authors, title and year.
        summary: One line for tables.
        keeps: Properties that the output shares with the input; all by default.
        exceptions: Contract checks that the layer does not pass, each with its reason.
        example: Keyword arguments needed in addition to ``channels``, if any has no default.

    Returns:
        A decorator that returns the class unchanged.

    Raises:
        ValueError: If the name is malformed or taken, or ``kind`` or ``keeps`` is unknown.
        TypeError: If the decorated object is no ``nn.Module`` class whose first argument is positional.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name must be snake_case (a-z, 0-9, _, starting with a letter), got {name!r}")
    _check_free(name)
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {get_args(Kind)}, got {kind!r}")
    kept = frozenset(keeps)
    if unknown := kept - set(get_args(Kept)):
        raise ValueError(f"keeps may hold {get_args(Kept)}, got {sorted(unknown)}")

    def decorate(cls: _LayerClass) -> _LayerClass:
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise TypeError(f"register({name!r}) decorates nn.Module classes, got {cls!r}")
        _check_layer_signature(name, cls)
        _check_free(name)  # again: the name may have been taken since
        _registered[name] = LayerInfo(
            name=name,
            cls=cls,
            kind=kind,
            paper=paper,
            summary=summary,
            keeps=kept,
            exceptions=MappingProxyType(dict(exceptions or {})),
            example=MappingProxyType(dict(example or {})),
        )
        return cls

    return decorate


def create(name: str, channels: int | Sequence[int], **kwargs: Any) -> nn.Module:
    """Create the layer registered as ``name``.

    Args:
        name: A name of :func:`list_layers`, or ``timm/<name>``.
        channels: Number of channels of the layer's input; for a ``pyramid`` layer one count per map.
        **kwargs: The layer's keyword arguments, including ``device`` and ``dtype``.

    Returns:
        A new layer.

    Raises:
        ValueError: If the name is unknown; the message lists the closest names.
        TypeError: If a keyword argument is unknown; the message lists the closest and all allowed names.

    Example:
        >>> create("se", 64, rd_ratio=1 / 8)(torch.zeros(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
    """
    info = layer_info(name)
    _check_keywords(info, kwargs)
    return info.cls(channels, **kwargs)


def layer_info(name: str) -> LayerInfo:
    """Return the description of the layer ``name``.

    Raises:
        ValueError: If the name is unknown; the message lists the closest names.
    """
    known = _layers()
    if name in known:
        return known[name]
    if isinstance(name, str) and name.startswith(timm_layers.PREFIX):
        return _timm_info(name)
    raise ValueError(_unknown(f"no layer named {name!r}", str(name), known))


def list_layers(*, kind: Kind | None = None, filter: str = "*") -> list[str]:  # noqa: A002 - timm's word
    """Return the sorted names of the registered layers.

    Args:
        kind: Only layers of this kind.
        filter: Shell-style pattern. A pattern that starts with ``timm/`` lists timm's attentions (and imports timm),
            any other the registered layers.

    Raises:
        ValueError: If ``kind`` is unknown.
    """
    if kind is not None and kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {get_args(Kind)}, got {kind!r}")
    if filter.startswith(timm_layers.PREFIX):
        names = [timm_layers.PREFIX + name for name in timm_layers.names()] if kind in {None, "unary"} else []
    else:
        names = [name for name, info in _layers().items() if kind in {None, info.kind}]
    return sorted(fnmatch.filter(names, filter))


def _layers() -> Mapping[str, LayerInfo]:
    """Return all registered layers, after importing attnzoo's; not at the top, because layers import this module."""
    importlib.import_module("attnzoo.layers")
    return _registered


def _timm_info(name: str) -> LayerInfo:
    bare = name.removeprefix(timm_layers.PREFIX)
    known = timm_layers.names()
    if bare not in known:
        raise ValueError(_unknown(f"timm has no attention {bare!r}", bare, known))
    return LayerInfo(
        name=name,
        cls=timm_layers.layer_class(bare),
        kind="unary",
        paper="see timm",
        summary=f"timm's {bare}",
    )


def _check_free(name: str) -> None:
    if taken := _layers().get(name):
        raise ValueError(f"name {name!r} is taken by {taken.cls!r}; choose another")


def _check_layer_signature(name: str, cls: type[nn.Module]) -> None:
    parameters = list(inspect.signature(cls).parameters.values())
    if not parameters or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise TypeError(f"{cls.__name__} ({name!r}) must take the channel count as its first positional argument")


def _check_keywords(info: LayerInfo, kwargs: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(info.cls).parameters.values())[1:]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    allowed = [parameter.name for parameter in parameters]
    for key in kwargs:
        if key not in allowed:
            message = _unknown(f"{info.name!r} takes no argument {key!r}", key, allowed)
            raise TypeError(f"{message}; allowed: {', '.join(allowed)}")


def _unknown(message: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
    return f"{message}; did you mean {', '.join(close)}?"
