"""Add the attention maps to the signature of a model's ``forward``, which tracers inspect."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def with_argument(name: str, forward: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``forward`` with an additional argument whose default is None.

    Args:
        name: The argument's name; it is passed to ``forward`` by keyword.
        forward: A function that accepts any arguments.
        original: The method whose signature is extended, by a last positional argument; by a keyword-only one if the
            method has ``*args``.
    """
    signature = inspect.signature(original)
    parameters = list(signature.parameters.values())
    count = sum(parameter.kind in _BY_POSITION for parameter in parameters)
    by_position = all(parameter.kind is not inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if by_position else inspect.Parameter.KEYWORD_ONLY
    after = [i for i, parameter in enumerate(parameters) if parameter.kind.value > kind.value]
    parameters.insert(after[0] if after else len(parameters), inspect.Parameter(name, kind, default=None))

    @functools.wraps(original)
    def taking(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if by_position and len(args) == count:  # `count` includes self
            *args, kwargs[name] = args  # type: ignore[assignment]
        return forward(self, *args, **kwargs)

    taking.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return taking
