"""timm's attentions by name, found in the installed timm when asked for; importing this loads no timm."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

PREFIX = "timm/"


@functools.cache
def names() -> tuple[str, ...]:
    """Return the sorted names that the installed timm's attention factory knows.

    timm publishes no list: the names are the string constants of ``get_attn``'s own code, so a new timm needs no new
    attnzoo.
    """
    from timm.layers import get_attn

    constants = {text for text in get_attn.__code__.co_consts if isinstance(text, str) and text.isidentifier()}
    return tuple(sorted(constants))


def layer_class(name: str) -> Callable[..., nn.Module]:
    """Return timm's class or factory for ``name``, one of :func:`names`."""
    from timm.layers import get_attn

    layer: Callable[..., nn.Module] = get_attn(name)
    return layer
