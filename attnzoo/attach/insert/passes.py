"""Keep the maps of a guided model's calls for gradient checkpointing, which runs sites again after the call.

Checkpointing calls parts of the model again during the backward pass, perhaps in a thread of autograd, without the
maps. So the maps are tied to the call's autograd graph: hooks on the nodes of its outputs and sites hold the maps, and
when the backward pass reaches them, they mark the call as the one whose maps to use. The maps live as long as the
graph. Without gradients nothing is kept; compiled code recomputes inside its graph and does not need this.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnzoo.attach import context
from attnzoo.attach.tensors import walk
from attnzoo.ops.torch_internals import after_backward_pass, backward_pass

_FRAME_KEY = "pass of {}"


class Pass:
    """One call of a guided model with gradients enabled.

    Args:
        keys: The keys under which its sites look up the maps.
        maps: The maps.
    """

    def __init__(self, keys: Sequence[str], maps: Tensor) -> None:
        self.keys = frozenset(keys)
        self.maps = maps
        self.thread = threading.get_ident()

    def follow(self, output: Any) -> None:
        """Keep the maps as long as the graph of the tensors in ``output`` lives."""
        for _, tensor in walk(output):
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(self._begin)

    def _begin(self, _: Any) -> None:
        """Mark this call as the one to recompute; runs before the backward of a node of its graph."""
        task, current = backward_pass(), _backward.current
        before = None if current is None or current.task != task else current.of()
        mixed = before is not None and (current.mixed or before.thread != self.thread)  # type: ignore[union-attr]
        _backward.current = started = _Backward(self, task, mixed)
        after_backward_pass(started.end)


class _Backward:
    """A running backward pass, and the call whose graph it has reached."""

    def __init__(self, of: Pass, task: int, mixed: bool) -> None:
        self.of: Any = weakref.ref(of)
        self.task = task
        self.mixed = mixed

    def end(self) -> None:
        self.of = lambda: None


class _Reached(threading.local):
    current: _Backward | None = None


_backward = _Reached()
_alive: weakref.WeakSet[Pass] = weakref.WeakSet()
_alive_lock = threading.Lock()


def remember(keys: Sequence[str], maps: Any, frame: context.Frame) -> Pass | None:
    """Return a ``Pass`` for the call that begins with these maps and put it into ``frame``; None without gradients."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or not isinstance(maps, Tensor):
        return None
    begun = Pass(keys, maps)
    frame.update({_FRAME_KEY.format(key): begun for key in keys})
    with _alive_lock:
        _alive.add(begun)
    return begun


def follow(key: str, output: Any) -> None:
    """Keep the maps of the running call as long as the graph of a site's ``output`` lives."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return
    frame = context.holder(_FRAME_KEY.format(key))
    if frame is not None:
        frame[_FRAME_KEY.format(key)].follow(output)


def recalled(key: str) -> Tensor | None:
    """Return the maps of the call that is being recomputed; None if no backward pass is running.

    Raises:
        RuntimeError: If the maps were freed, or the call that is recomputed cannot be determined.
    """
    if torch.compiler.is_compiling():
        return None
    reached = _backward.current
    call = None if reached is None else reached.of()
    if reached is not None and call is not None and key in call.keys and not reached.mixed:
        return call.maps  # type: ignore[no-any-return]
    if backward_pass() == -1:
        return None
    with _alive_lock:
        calls = {id(each.maps): each for each in _alive if key in each.keys}
    if len(calls) != 1:
        why = (
            f"it cannot be told with the maps of which of {len(calls)} calls: go backwards from the model's outputs, "
            "and from one thread's call at a time"
            if calls
            else "the maps of its call are gone: keep the model's output until the backward pass is over"
        )
        raise RuntimeError(f"gradient checkpointing computes a guided attention again, and {why}")
    return next(iter(calls.values())).maps
