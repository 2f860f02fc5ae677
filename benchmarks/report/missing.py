"""The block that stands in the place of an absent result."""

from __future__ import annotations

from attnzoo.pages import Missing
from benchmarks.committed import KNOWN


def missing(name: str) -> Missing:
    """Return the block that stands in the place of the result ``name``: what it is, and the command that makes it."""
    return Missing(*KNOWN[name])
