"""Files that appear whole or not at all, and whether one can be written, asked before any work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: Path, suffix: str) -> None:
    """Check, before any work, that a file with this ending can be written to ``path``.

    Raises:
        ValueError: If it does not end in ``suffix``, is a folder, or its folder is absent or closed to writing.
    """
    if path.suffix.lower() != suffix:
        raise ValueError(f"the output {path} must end in {suffix}")
    if path.is_dir():
        raise ValueError(f"the output {path} is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"the output's folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"the output's folder {path.parent} is not writable")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a place beside ``path`` to write to; it becomes ``path`` at the end, or vanishes with any exception.

    An older file under that name stays until then. The place has the same ending: some writers go by it.
    """
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write(path: Path, content: bytes, suffix: str) -> None:
    """Write the file so that it appears whole or not at all.

    Raises:
        OSError: If the file system refuses.
        ValueError: If ``path`` cannot be one, see :func:`check_writable`.
    """
    check_writable(path, suffix)
    with whole(path) as draft:
        draft.write_bytes(content)
