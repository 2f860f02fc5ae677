"""Files that a command writes: what cannot be written is said before any work, and no file appears in part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OutputError", "check_writable", "whole", "write_atomically", "write_output"]


class OutputError(ValueError):
    """A file cannot be written where it should be; the message is one sentence that names the path."""


def check_writable(path: Path, suffix: str) -> None:
    """Check, before any work, that a file with this ending can be written to ``path``.

    Raises:
        OutputError: If it does not end in ``suffix``, is a folder, or its folder is absent or closed to writing.
    """
    if path.suffix.lower() != suffix:
        raise OutputError(f"the output {path} must end in {suffix}")
    if path.is_dir():
        raise OutputError(f"the output {path} is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"the output's folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the output's folder {path.parent} is not writable")


@contextmanager
def whole(path: Path, *, ending: str | None = None) -> Iterator[Path]:
    """Yield a place beside ``path`` to write to; it becomes ``path`` at the end, or vanishes with any exception.

    An older file under that name stays until then.

    Args:
        path: The file.
        ending: Of the place's name; that of ``path`` by default, for writers that go by it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{path.suffix if ending is None else ending}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file in one step: it is whole or not there, and an older one under its name stays until then.

    Args:
        path: The file.
        content: All of it.
        durable: Wait until the disk has it, so that it outlives a power cut as well.

    Raises:
        OSError: If the file system refuses.
    """
    with whole(path, ending="") as draft, draft.open("wb") as file:  # a killed process must leave no `.face.png`
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def write_output(path: Path, content: bytes) -> None:
    """Write what a command was asked for, by :func:`write_atomically`.

    Raises:
        OutputError: If the file system refuses.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"the output {path} cannot be written: {error.strerror}") from error
