"""Ctrl-C and SIGTERM in long commands: both raise one exception, and the exit code is the one that shells expect.

``KeyboardInterrupt`` and Lightning's handling of SIGTERM would end a training with exit code 1 or 0.
:class:`Interrupted` propagates through Lightning like any other error, so that files are closed and the command can
print which results are kept.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupted(BaseException):
    """SIGINT or SIGTERM has arrived.

    Attributes:
        number: Number of the signal.
        kept: Sentence without full stop on the results that are kept; empty if :func:`keeping` was not used.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.kept = ""

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"{_NAMES[signal.Signals(self.number)]}; {self.kept or 'nothing was written'}"


class _Raiser:
    """A signal handler that raises :class:`Interrupted` in the process that installed it."""

    def __init__(self) -> None:
        self.process = os.getpid()

    def __call__(self, number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
        if os.getpid() != self.process:  # a forked child must react as without the handler
            signal.raise_signal(number)
            return
        raise Interrupted(number)


def active() -> bool:
    """Return whether this process is inside :func:`interruptible`."""
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, _Raiser) and handler.process == os.getpid()


@contextmanager
def as_itself() -> Iterator[None]:
    """Raise the :class:`Interrupted` that is the cause of another error.

    If a signal arrives while compiled code calls Python, the handler's exception is replaced by that code's error: a
    ``SystemError`` in numba, a ``RuntimeError`` elsewhere.
    """
    try:
        yield
    except (RuntimeError, SystemError) as error:
        cause: BaseException | None = error
        while not (cause is None or isinstance(cause, Interrupted)):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` on SIGINT or SIGTERM; does nothing when nested or outside of the main thread."""
    if active() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    install()
    try:
        with as_itself():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install() -> None:
    """Install the handlers that raise :class:`Interrupted`, in place of those of other packages."""
    raiser = _Raiser()
    for number in _SIGNALS:
        signal.signal(number, raiser)


def ignore() -> None:
    """Ignore both signals in this process; its parent process ends it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def keeping(sentence: str, *, file: Path | None = None) -> Iterator[None]:
    """Set the message of an interruption in the ``with`` block; of nested blocks the innermost sentence is used.

    Args:
        sentence: Sentence without full stop on the results that are kept.
        file: Use the sentence only if this file exists at the interruption; None uses it always.
    """
    try:
        with as_itself():
            yield
    except Interrupted as interrupted:
        if file is None or file.exists():
            interrupted.kept = interrupted.kept or sentence
        raise
