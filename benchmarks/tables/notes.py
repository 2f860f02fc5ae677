"""The numbered notes below a table."""

from __future__ import annotations

from collections.abc import Iterable


def numbered(reasons: Iterable[str]) -> dict[str, int]:
    """Return the number of each different reason, from 1 in order of appearance; an empty one has none."""
    return {reason: number for number, reason in enumerate(dict.fromkeys(filter(None, reasons)), start=1)}
