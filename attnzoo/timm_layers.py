"""timm's attention layers by name, read from the installed timm; timm is imported on first use only."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

PREFIX = "timm/"


@functools.cache
def names() -> tuple[str, ...]:
    """Return the sorted names that ``timm.layers.get_attn`` of the installed timm accepts.

    timm publishes no list: the names are the string constants in the code of ``get_attn``, so that new layers of timm
    need no change here.
    """
    from timm.layers import get_attn

    constants = {text for text in get_attn.__code__.co_consts if isinstance(text, str) and text.isidentifier()}
    return tuple(sorted(constants))


def layer_class(name: str) -> Callable[..., nn.Module]:
    """Return timm's layer class or factory for ``name``, one of :func:`names`."""
    from timm.layers import get_attn

    layer: Callable[..., nn.Module] = get_attn(name)
    return layer
