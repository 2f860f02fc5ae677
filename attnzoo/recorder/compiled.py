"""Compiled modules in a recorded pass: they run as they were before, in the recording thread alone.

A compiled graph has no gates to show. ``torch.compiler.set_stance`` would have it run eagerly too, and everybody
else's: it holds for the whole process. So the compiled ``forward`` of each module is stood in for, as long as anybody
records, by a function that asks whether this very thread does.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from attnzoo.ops.torch_internals import COMPILED_CALL, COMPILED_FROM, call_as_written

COMPILED_FORWARD = "forward"
"""Where ``torch.compile(module)`` holds what it has made."""


class _Eager(threading.local):
    passes = 0


@dataclass(slots=True)
class _Held:
    """What was held where a function stands now, and how many recorders need that function."""

    compiled: Callable[..., Any]
    recorders: int = 0


_eager = _Eager()
_held: weakref.WeakKeyDictionary[nn.Module, dict[str, _Held]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def eagerly() -> Iterator[None]:
    """Run the modules that :func:`watch` has found uncompiled, in this thread, for as long as the context lasts."""
    _eager.passes += 1
    try:
        yield
    finally:
        _eager.passes -= 1


@contextmanager
def watch(model: nn.Module) -> Iterator[None]:
    """Let :func:`eagerly` act on the compiled modules of ``model``, itself included, for as long as the context lasts.

    In other threads, and outside :func:`eagerly`, they run compiled as before; nothing is compiled again.
    """
    found = [(module, place) for module in model.modules() for place in _places(module)]
    with _lock:
        for module, place in found:
            held = _held.setdefault(module, {})
            if place not in held:
                held[place] = _Held(vars(module)[place])
                setattr(module, place, _choosing(module, place, held[place].compiled))
            held[place].recorders += 1
    try:
        yield
    finally:
        with _lock:
            for module, place in found:
                held = _held[module]
                held[place].recorders -= 1
                if not held[place].recorders:
                    setattr(module, place, held.pop(place).compiled)


def _places(module: nn.Module) -> Iterator[str]:
    if hasattr(vars(module).get(COMPILED_FORWARD), COMPILED_FROM):
        yield COMPILED_FORWARD
    if vars(module).get(COMPILED_CALL) is not None:
        yield COMPILED_CALL


def _choosing(module: nn.Module, place: str, compiled: Callable[..., Any]) -> Callable[..., Any]:
    before: Callable[..., Any] = (
        getattr(compiled, COMPILED_FROM) if place == COMPILED_FORWARD else functools.partial(call_as_written, module)
    )

    @functools.wraps(compiled)
    def choosing(*args: Any, **kwargs: Any) -> Any:
        return before(*args, **kwargs) if _eager.passes else compiled(*args, **kwargs)

    return choosing
