"""Layers report their gates to a listener such as :func:`attnzoo.record`; compiled and exported graphs do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

Listener = Callable[[nn.Module, Mapping[str, Tensor], bool], None]
active_listener: ContextVar[Listener | None] = ContextVar("attnzoo_gate_listener", default=None)
"""The function that receives the gates computed in this context, or None."""


def note_gates(layer: nn.Module, gates: Mapping[str, Tensor], *, hard: bool = False) -> None:
    """Report gates that ``layer`` has computed to :func:`attnzoo.record`; do nothing if no recorder is active.

    A layer calls this wherever it computes its gates, in ``forward`` and in ``gates``.

    Args:
        layer: The layer that computed the gates.
        gates: Name to gate, of shape (B or 1, C or 1, H or 1, W or 1) or (B, C).
        hard: Whether the gates are masks of 0 and 1 by construction, so that a saturated gate is no sign of a problem.
    """
    if torch.compiler.is_compiling():
        return
    listener = active_listener.get()
    if listener is not None:
        listener(layer, gates, hard)


def has_listener() -> bool:
    """Tell whether a listener is active: gates that ``forward`` does not need are computed only for one."""
    return not torch.compiler.is_compiling() and active_listener.get() is not None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass all gates computed inside the ``with`` block to ``listener``."""
    token = active_listener.set(listener)
    try:
        yield
    finally:
        active_listener.reset(token)
