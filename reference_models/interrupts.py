"""Ctrl-C and SIGTERM in long commands: both become one exception, and a shell sees the exit code that it expects.

``KeyboardInterrupt`` and Lightning's handling of SIGTERM would end a training with exit code 1 or 0.
:class:`Interrupted` passes through Lightning as any other error does, so that files are closed and the command can say
what is kept.
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
        number: Of the signal.
        kept: What of the work is kept, a sentence without its full stop; empty if nobody has said it.
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
        if os.getpid() != self.process:  # a forked child does what it would have done without the handler
            signal.raise_signal(number)
            return
        raise Interrupted(number)


def active() -> bool:
    """Return whether this process is inside :func:`interruptible`."""
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, _Raiser) and handler.process == os.getpid()


@contextmanager
def as_itself() -> Iterator[None]:
    """Raise the interruption that another error hides.

    A signal may arrive while compiled code calls Python, and what the handler raises there becomes an error of that
    code's: a ``SystemError`` of numba's, a ``RuntimeError`` of others'.
    """
    try:
        yield
    except (RuntimeError, SystemError) as error:
        behind: BaseException | None = error
        while not (behind is None or isinstance(behind, Interrupted)):
            behind = behind.__cause__ or behind.__context__
        if behind is None:
            raise
        raise behind from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` when SIGINT or SIGTERM arrives; inside another one, or another thread, do nothing."""
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
    """Raise :class:`Interrupted` from now on, whatever handlers other packages have set."""
    raiser = _Raiser()
    for number in _SIGNALS:
        signal.signal(number, raiser)


def ignore() -> None:
    """Ignore both signals: the process that started this one ends it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def keeping(sentence: str, *, file: Path | None = None) -> Iterator[None]:
    """Let an interruption inside say what is kept; the innermost sentence counts.

    Args:
        sentence: Without its full stop.
        file: Only if it is there when the interruption comes.
    """
    try:
        with as_itself():
            yield
    except Interrupted as interrupted:
        if file is None or file.exists():
            interrupted.kept = interrupted.kept or sentence
        raise
