"""What became of attaching a layer to every family of models, from ``attach-sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WHERE = ("stage", "block")
"""The kinds of site that a layer is attached at."""


class Outcome(NamedTuple):
    """What became of attaching at one kind of site.

    Attributes:
        text: How many sites there are if all checks pass; otherwise ``error``, ``refused`` or ``failed``.
        reason: Why it does not pass; empty if it does.
    """

    text: str
    reason: str = ""


def layouts(model: Mapping[str, Any]) -> str:
    """Return how many layouts of a model's sites were seen at two aspect ratios, ``3 of 4``; ``-`` for no site."""
    layout = model.get("layout")
    return f"{layout['proven']} of {layout['spots']}" if layout else "-"


def outcome(model: Mapping[str, Any], where: str, checks: Sequence[str]) -> Outcome:
    """Return what became of attaching to a model of the result, by the checks that the result names."""
    if "error" in model:
        return Outcome("error", str(model["error"]))
    if where in model.get("refused", {}):
        return Outcome("refused", model["refused"][where])
    layers = model["results"][where]
    failed = [f"{layer}: {check}" for layer, outcome in layers.items() for check in checks if not outcome.get(check)]
    if failed:
        return Outcome("failed", ", ".join(failed))
    return Outcome(f"{next(iter(layers.values()))['sites']} sites")
