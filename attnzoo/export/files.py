"""Files that appear whole or not at all, however they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: Path, suffix: str) -> None:
    """Check, before any work, that a file with this suffix can be written to ``path``.

    Raises:
        ValueError: If it does not end in the suffix, is a folder, or its folder is absent or closed to writing.
    """
    if path.suffix != suffix:
        raise ValueError(f"path must end in {suffix}, got {path}")
    if path.is_dir():
        raise ValueError(f"path must name a file, and {path} is a folder")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"path must be in a folder that exists and can be written to, got {path}")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a place beside ``path`` to write to; it becomes ``path`` at the end, or vanishes with any exception.

    An older file under that name stays until then.
    """
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
