"""The papers' figures beside ours, from ``ledger.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def printed(figure: Mapping[str, Any]) -> str:
    """Return what the paper prints, with its unit; ``-`` for nothing."""
    return f"{figure['paper']} {figure['unit']}" if figure["paper"] else "-"


def agreement(record: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many of all printed figures ours agree with, and how many are printed."""
    agree, printed = (sum(total[key] for total in record["totals"]) for key in ("agree", "printed"))
    return agree, printed
