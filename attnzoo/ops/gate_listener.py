"""How a layer says what its gates are to whoever listens. Compiled and exported graphs hold none of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

Listener = Callable[[nn.Module, Mapping[str, Tensor], bool], None]
active_listener: ContextVar[Listener | None] = ContextVar("attnzoo_gate_listener", default=None)
"""Whoever is told of gates in this thread."""


def note_gates(layer: nn.Module, gates: Mapping[str, Tensor], *, hard: bool = False) -> None:
    """Tell :func:`attnzoo.record` the gates that ``layer`` has just computed; without a recorder, do nothing.

    A layer calls it wherever it computes its gates, on the way of ``forward`` as of ``gates``.

    Args:
        layer: The layer itself.
        gates: Name to gate, of shape (B or 1, C or 1, H or 1, W or 1) or (B, C).
        hard: Whether the gates are 0 or 1 by construction (masks), so that it says nothing if they are saturated.
    """
    if torch.compiler.is_compiling():
        return
    listener = active_listener.get()
    if listener is not None:
        listener(layer, gates, hard)


def listened() -> bool:
    """Tell whether anybody listens, for gates that cost something to show."""
    return not torch.compiler.is_compiling() and active_listener.get() is not None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let ``listener`` be told of all gates computed inside the block, in this thread."""
    token = active_listener.set(listener)
    try:
        yield
    finally:
        active_listener.reset(token)
