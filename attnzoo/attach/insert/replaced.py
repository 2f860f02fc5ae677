"""A ``forward`` that somebody puts on an attached module itself, in place of its class's.

ultralytics does so when it fuses a convolution with its normalisation, accelerate and diffusers when they move weights
before a call. The new function may call the one that it replaces, where the output is attended to already, or compute
everything itself: each call is attended to exactly once, in the first case inside, in the second afterwards.
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
    """What stands on an attached module as its ``forward``: the given function, and attention if it has none inside.

    Args:
        module: The module.
        given: What was put on it.
    """

    def __init__(self, module: nn.Module, given: Callable[..., Any]) -> None:
        functools.update_wrapper(self, given)
        self.module = module
        self.given = given

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the given function returns, attended to."""
        stack: Any = self.module._modules.get(CHILD)
        if not isinstance(stack, AttentionStack):  # detached, and somebody still holds this
            return self.given(*args, **kwargs)
        return stack.call(self.given, args, kwargs, wraps=True)


def standing_in(module: nn.Module, given: Any) -> Any:
    """Return what is to be put on ``module`` as its ``forward`` where ``given`` was to be; its stack takes note."""
    stack: Any = module._modules.get(CHILD)
    if isinstance(given, nn.Module | ReplacedForward) or not callable(given) or not isinstance(stack, AttentionStack):
        return given
    stack.replaced = stack.replaced or new_key()
    return given if is_own(module, given) else ReplacedForward(module, given)


def is_own(module: nn.Module, given: Any) -> bool:
    """Tell whether ``given`` is the forward of a swapped class, bound to ``module``: somebody has put it back."""
    return getattr(given, "__self__", None) is module and getattr(given, "__func__", None) in OWN_FORWARDS
