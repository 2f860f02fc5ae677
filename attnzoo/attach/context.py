"""Pass tensors from one module of a model to an attention layer elsewhere in it, per thread and per call.

The call of a module that expects such tensors opens a frame, a dict with one key for each tensor. Modules that run
inside the call, in the same thread, may fill and read the keys. When the call ends, the frame is dropped with its
references to the tensors. Nothing is stored on modules: several threads, and the replicas of ``nn.DataParallel``, may
run the same modules at the same time, and calls may be nested.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

Frame = dict[str, Any]


class _Running(threading.local):
    """The frames of the calls that are running in this thread, the outermost first.

    It is thread-local data, not a context variable, because torch.compile cannot set the latter.
    """

    frames: tuple[Frame, ...] = ()


_running = _Running()


def new_key() -> str:
    """Return a key that is unique, also among the attachments of models that are unpickled later."""
    return uuid.uuid4().hex


def opened(frame: Frame) -> tuple[Frame, ...]:
    """Open ``frame`` inside the open frames; return the latter, for :func:`restore`."""
    before = _running.frames
    _running.frames = (*before, frame)
    return before


def restore(frames: tuple[Frame, ...]) -> None:
    """Set the open frames to ``frames``, as :func:`opened` returned them."""
    _running.frames = frames


def holder(key: str, frame: Frame | None = None) -> Frame | None:
    """Return ``frame`` if it has ``key``, else the innermost open frame that has it, or None."""
    if frame is not None and key in frame:
        return frame
    return next((each for each in reversed(_running.frames) if key in each), None)


def leave(key: str, value: Any) -> None:
    """Set ``key`` to ``value`` in the innermost open frame that has the key, if there is one."""
    frame = holder(key)
    if frame is not None:
        frame[key] = value


def mark(key: str) -> None:
    """Set ``key`` to True in every open frame that has the key."""
    for frame in _running.frames:
        if key in frame:
            frame[key] = True
