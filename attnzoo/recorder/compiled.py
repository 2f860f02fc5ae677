"""Run compiled modules eagerly in a recorded pass, in the recording thread only.

A compiled graph does not report gates. ``torch.compiler.set_stance`` could make it run eagerly, but for the whole
process. So while a recorder is active, the compiled ``forward`` of each module is replaced by a function that runs the
original forward in a recording thread, and the compiled one in all others.
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
"""Attribute of a module compiled by ``torch.compile(module)`` that holds the compiled function."""


class _Eager(threading.local):
    passes = 0


@dataclass(slots=True)
class _Replaced:
    """A replaced compiled function, and the number of active recorders that need the replacement."""

    compiled: Callable[..., Any]
    recorders: int = 0


_eager = _Eager()
_replaced: weakref.WeakKeyDictionary[nn.Module, dict[str, _Replaced]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def eagerly() -> Iterator[None]:
    """Inside the ``with`` block, run the modules that :func:`watch` prepared without compilation, in this thread."""
    _eager.passes += 1
    try:
        yield
    finally:
        _eager.passes -= 1


@contextmanager
def watch(model: nn.Module) -> Iterator[None]:
    """Inside the ``with`` block, make :func:`eagerly` apply to the compiled modules of ``model``, itself included.

    In other threads, and outside of :func:`eagerly`, they run compiled as before; nothing is compiled again.
    """
    compiled = [(module, name) for module in model.modules() for name in _compiled_attributes(module)]
    with _lock:
        for module, name in compiled:
            replaced = _replaced.setdefault(module, {})
            if name not in replaced:
                replaced[name] = _Replaced(vars(module)[name])
                setattr(module, name, _choosing(module, name, replaced[name].compiled))
            replaced[name].recorders += 1
    try:
        yield
    finally:
        with _lock:
            for module, name in compiled:
                replaced = _replaced[module]
                replaced[name].recorders -= 1
                if not replaced[name].recorders:
                    setattr(module, name, replaced.pop(name).compiled)


def _compiled_attributes(module: nn.Module) -> Iterator[str]:
    if hasattr(vars(module).get(COMPILED_FORWARD), COMPILED_FROM):
        yield COMPILED_FORWARD
    if vars(module).get(COMPILED_CALL) is not None:
        yield COMPILED_CALL


def _choosing(module: nn.Module, name: str, compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls the original function inside ``eagerly`` and ``compiled`` outside of it."""
    original: Callable[..., Any] = (
        getattr(compiled, COMPILED_FROM) if name == COMPILED_FORWARD else functools.partial(call_as_written, module)
    )

    @functools.wraps(compiled)
    def choosing(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if _eager.passes else compiled(*args, **kwargs)

    return choosing
