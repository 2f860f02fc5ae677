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
    """Write the file so that it appears whole or not at all.

    Raises:
        OutputError: If the file system refuses.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(f"the output {path} cannot be written: {error.strerror}") from error
