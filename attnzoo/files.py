"""Write files atomically, and check before any work that an output file can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OutputError", "check_writable", "whole", "write_atomically", "write_output"]


class OutputError(ValueError):
    """An output file cannot be written; the message is one sentence that names the path."""


def check_writable(path: Path, suffix: str) -> None:
    """Check, before any work, that a file with this ending can be written to ``path``.

    Raises:
        OutputError: If it does not end in ``suffix``, is a folder, or its folder does not exist or is not writable.
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
    """Yield a temporary path in the folder of ``path``; at the end rename it to ``path``, or delete it on an exception.

    An existing file at ``path`` is kept until then.

    Args:
        path: The file.
        ending: Suffix of the temporary path; by default that of ``path``, for writers that depend on it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{path.suffix if ending is None else ending}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file atomically: it is never there in part, and an existing one is kept until it is complete.

    Args:
        path: The file.
        content: Its content.
        durable: Whether to wait until it is on disk, so that it survives a power failure.

    Raises:
        OSError: If the file cannot be written.
    """
    with (
        whole(path, ending="") as draft,
        draft.open("wb") as file,
    ):  # a killed process leaves no .png
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def write_output(path: Path, content: bytes) -> None:
    """Write a command's output file by :func:`write_atomically`.

    Raises:
        OutputError: If the file cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OutputError(f"the output {path} cannot be written: {error.strerror}") from error
