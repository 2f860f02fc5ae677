"""What is computed once and kept for the next command, in the user's cache folder: rendered faces.

The folder is ``$XDG_CACHE_HOME/attnzoo``, by default ``~/.cache/attnzoo``. ``ATTNZOO_CACHE`` names another one, or with
the value ``off`` none at all. ``ATTNZOO_CACHE_GB`` is how large it may become, 4 by default: files that were not used
for the longest time go first.
"""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_GB = 4.0
_OFF = ("off", "0", "no", "false")


def folder(name: str) -> Path | None:
    """Return a folder of the cache, which may not be there yet; None if the user wants no cache."""
    said = os.environ.get("ATTNZOO_CACHE", "")
    if said.lower() in _OFF:
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(said) if said else (Path(base) if base else Path.home() / ".cache") / "attnzoo") / name


def limit() -> int:
    """Return how many bytes the cache may hold.

    Raises:
        ValueError: If ``ATTNZOO_CACHE_GB`` is no number.
    """
    said = os.environ.get("ATTNZOO_CACHE_GB", "")
    try:
        return int(float(said) * 1e9) if said else int(DEFAULT_GB * 1e9)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"ATTNZOO_CACHE_GB must be a number of gigabytes, got {said!r}") from error


def used(path: Path) -> None:
    """Note that a file was used just now."""
    os.utime(path)


def make_room(path: Path, size: int) -> bool:
    """Remove the files beside ``path`` that were not used for the longest time, until ``size`` more bytes fit.

    Returns:
        Whether they fit now; a file that is larger than the whole cache never does.
    """
    most = limit()
    if size > most:
        return False
    there = []
    for file in path.parent.glob(f"*{path.suffix}"):
        status = file.stat()
        there.append((status.st_mtime, status.st_size, file))
    total = sum(bytes_ for _, bytes_, _ in there)
    for _, bytes_, file in sorted(there):
        if total + size <= most:
            break
        file.unlink(missing_ok=True)
        total -= bytes_
    return True
