"""The passes that are being recorded, by thread, and the one listener that tells all recorders of a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from attnzoo.ops.noting import Listener, listening


class Pass:
    """One recorded call of a model, in one thread.

    Attributes:
        thread: The thread that the model runs in.
        gates: By name, what was captured.
        calls: By gate, how often it was noted.
        ends: What is undone when the call is over.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.gates: dict[str, Tensor] = {}
        self.calls: dict[str, int] = {}
        self.ends = ExitStack()

    def runs_here(self) -> bool:
        """Tell whether this is the thread of the call: modules are shared, and so are the hooks on them."""
        return threading.get_ident() == self.thread


class _Listeners(threading.local):
    def __init__(self) -> None:
        self.all: list[Listener] = []
        self.listening = ExitStack()


_listeners = _Listeners()


def _tell(layer: nn.Module, gates: Mapping[str, Tensor], hard: bool) -> None:
    for listener in tuple(_listeners.all):
        listener(layer, gates, hard)


def listen(listener: Listener) -> Callable[[], Any]:
    """Tell ``listener`` of all gates that are computed in this thread; return what ends it, in any order of several."""
    here = _listeners
    if not here.all:
        here.listening.enter_context(listening(_tell))
    here.all.append(listener)

    def end() -> None:
        here.all.remove(listener)
        if not here.all:
            here.listening.close()

    return end
