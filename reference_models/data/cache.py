"""The user's cache folder, in which rendered faces are kept for later commands.

The folder is ``$XDG_CACHE_HOME/attnzoo``, by default ``~/.cache/attnzoo``. ``ATTNZOO_CACHE`` names another folder, or
turns the cache off with the value ``off``. ``ATTNZOO_CACHE_GB`` is its largest size in gigabytes, 4 by default: the
files that were least recently used are removed first.
"""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_GB = 4.0
_OFF = ("off", "0", "no", "false")


def folder(name: str) -> Path | None:
    """Return the path of a folder in the cache, which may not exist yet; None if the cache is off."""
    setting = os.environ.get("ATTNZOO_CACHE", "")
    if setting.lower() in _OFF:
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(setting) if setting else (Path(base) if base else Path.home() / ".cache") / "attnzoo") / name


def limit() -> int:
    """Return the largest size of the cache in bytes.

    Raises:
        ValueError: If ``ATTNZOO_CACHE_GB`` is not a number.
    """
    setting = os.environ.get("ATTNZOO_CACHE_GB", "")
    try:
        return int(float(setting) * 1e9) if setting else int(DEFAULT_GB * 1e9)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"ATTNZOO_CACHE_GB must be a number of gigabytes, got {setting!r}") from error


def used(path: Path) -> None:
    """Mark a file as used now."""
    os.utime(path)


def make_room(path: Path, size: int) -> bool:
    """Remove least recently used files from the folder of ``path`` until ``size`` more bytes fit into the cache.

    Only files with the suffix of ``path`` count and are removed.

    Returns:
        True if the bytes fit now; False if ``size`` is larger than the whole cache.
    """
    most = limit()
    if size > most:
        return False
    files = []
    for file in path.parent.glob(f"*{path.suffix}"):
        status = file.stat()
        files.append((status.st_mtime, status.st_size, file))
    total = sum(bytes_ for _, bytes_, _ in files)
    for _, bytes_, file in sorted(files):
        if total + size <= most:
            break
        file.unlink(missing_ok=True)
        total -= bytes_
    return True
