"""Tensors that one module of a model hands to an attention elsewhere in it: kept by thread and by call.

A call of a module that expects such tensors opens a frame, a dict with one key for each of them. Whatever runs inside
the call, in the same thread, may fill the keys and read them. When the call ends, the frame is dropped, and with it
every reference to the tensors. Nothing is stored on modules, so that any number of threads, and the replicas of
``nn.DataParallel``, may run the same modules at the same time, and a module may be called inside its own call.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

Frame = dict[str, Any]


class _Running(threading.local):
    """The frames of the calls that are running in this thread, the outermost first.

    It is thread-local data and no context variable, because torch.compile can set the former only.
    """

    frames: tuple[Frame, ...] = ()


_running = _Running()


def new_key() -> str:
    """Return a key that no other attachment has, neither in this process nor in a pickled model that is loaded."""
    return uuid.uuid4().hex


def opened(frame: Frame) -> tuple[Frame, ...]:
    """Open ``frame`` inside the frames that are open; return those, for :func:`restore`."""
    before = _running.frames
    _running.frames = (*before, frame)
    return before


def restore(frames: tuple[Frame, ...]) -> None:
    """Close what :func:`opened` has opened."""
    _running.frames = frames


def holder(key: str, own: Frame | None = None) -> Frame | None:
    """Return ``own``, the frame of the call that asks, or the innermost open one, whichever has ``key`` first."""
    if own is not None and key in own:
        return own
    for frame in reversed(_running.frames):
        if key in frame:
            return frame
    return None


def leave(key: str, value: Any) -> None:
    """Put ``value`` under ``key`` in the innermost frame that has the key; where there is none, it is not wanted."""
    frame = holder(key)
    if frame is not None:
        frame[key] = value


def mark(key: str) -> None:
    """Put True under ``key`` in every open frame that has the key."""
    for frame in _running.frames:
        if key in frame:
            frame[key] = True
