"""Support for a ``forward`` that is assigned to an instance of an attached module.

ultralytics does so when it fuses a convolution with its normalisation, accelerate and diffusers to move weights before
a call. The new function may call the previous one, which applies attention already, or compute the output without it:
the attention is applied exactly once, in the second case after the function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from attnzoo.attach.context import new_key
from attnzoo.attach.insert.stack import CHILD, AttentionStack

# The registry of children is read directly: containers override every public way to it.
# ruff: noqa: SLF001

OWN_FORWARDS: set[Any] = set()
"""The functions that are the ``forward`` of swapped classes."""


class ReplacedForward:
    """The ``forward`` of an attached module's instance: the given function, and attention unless that applied it.

    Args:
        module: The module.
        given: The function that was assigned.
    """

    def __init__(self, module: nn.Module, given: Callable[..., Any]) -> None:
        functools.update_wrapper(self, given)
        self.module = module
        self.given = given

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the given function's output with attention applied."""
        stack: Any = self.module._modules.get(CHILD)
        if not isinstance(stack, AttentionStack):  # the attention was detached
            return self.given(*args, **kwargs)
        return stack.call(self.given, args, kwargs, wraps=True)


def standing_in(module: nn.Module, given: Any) -> Any:
    """Return the object to store as ``forward`` of ``module`` when ``given`` is assigned, and mark the stack."""
    stack: Any = module._modules.get(CHILD)
    if isinstance(given, nn.Module | ReplacedForward) or not callable(given) or not isinstance(stack, AttentionStack):
        return given
    stack.replaced = stack.replaced or new_key()
    return given if is_own(module, given) else ReplacedForward(module, given)


def is_own(module: nn.Module, given: Any) -> bool:
    """Tell whether ``given`` is the forward of the module's swapped class, as when the original is restored."""
    return getattr(given, "__self__", None) is module and getattr(given, "__func__", None) in OWN_FORWARDS
