"""The passes that are being recorded in each thread, and the gate listener that serves all recorders of a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from attnzoo.ops.gate_listener import Listener, listening


class Pass:
    """One recorded call of a model, in one thread.

    Attributes:
        thread: Identifier of the thread in which the model runs.
        gates: Name to captured gate.
        calls: Name of a gate to the number of times it was reported.
        ends: Callbacks to run at the end of the call.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.gates: dict[str, Tensor] = {}
        self.calls: dict[str, int] = {}
        self.ends = ExitStack()

    def runs_here(self) -> bool:
        """Tell whether the current thread is that of the call: other threads run the same modules and hooks."""
        return threading.get_ident() == self.thread


class _Listeners(threading.local):
    def __init__(self) -> None:
        self.all: list[Listener] = []
        self.listening = ExitStack()


_listeners = _Listeners()


def _forward(layer: nn.Module, gates: Mapping[str, Tensor], hard: bool) -> None:
    for listener in tuple(_listeners.all):
        listener(layer, gates, hard)


def listen(listener: Listener) -> Callable[[], Any]:
    """Pass all gates computed in this thread to ``listener``; return a function that ends this, in any order."""
    here = _listeners
    if not here.all:
        here.listening.enter_context(listening(_forward))
    here.all.append(listener)

    def end() -> None:
        here.all.remove(listener)
        if not here.all:
            here.listening.close()

    return end
