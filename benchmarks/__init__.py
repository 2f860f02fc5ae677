"""Benchmarks, by question: each folder holds commands, README.md says what each measures."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
RESULTS = ROOT / "benchmarks" / "results"
"""Where results are committed."""
