"""The attention maps as an argument that can be seen: tracers ask a model's ``forward`` what it takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def with_argument(name: str, forward: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``forward`` with a further argument, None by default: the last one by position, or by name.

    Args:
        name: Its name; it is handed on to ``forward`` by name.
        forward: Takes any arguments.
        original: The method whose signature ``forward`` has otherwise. Where it takes any number of arguments by
            position, the new one goes by name alone.
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
        if by_position and len(args) == count:  # of which one is self
            *args, kwargs[name] = args  # type: ignore[assignment]
        return forward(self, *args, **kwargs)

    taking.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return taking
