"""Files that a command writes: what cannot be written is said before any work, and no file appears in part."""

from __future__ import annotations

import os
from pathlib import Path


class OutputError(ValueError):
    """A file cannot be written where it should be; the message is one sentence that names the path."""


def check_writable(path: Path, *, suffix: str = ".png") -> None:
    """Check, before any work, that a file with this suffix can be written to ``path``.

    Raises:
        OutputError: If it does not end in the suffix, is a folder, or its folder is absent or closed to writing.
    """
    if path.suffix.lower() != suffix:
        raise OutputError(f"the output {path} must end in {suffix}")
    if path.is_dir():
        raise OutputError(f"the output {path} is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"the output's folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the output's folder {path.parent} is not writable")


def write_whole(data: bytes, path: Path) -> None:
    """Write what a command was asked for, by :func:`write_atomically`.

    Raises:
        OutputError: If the file system refuses.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise OutputError(f"the output {path} cannot be written: {error.strerror}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file in one step: it is whole or not there, and an older one under its name stays until then.

    Raises:
        OSError: If the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
