"""The files with generated parts, and the text that each should have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import RESULTS, ROOT, goals
from docs.generate import layers, networks, reference, results, training

FILES = ("README.md", "docs/**/*.md", "benchmarks/README.md")
GOALS = RESULTS / "goals.json"
"""A file that is generated as a whole, from the other results."""
PARTS: Mapping[str, Callable[..., str]] = {
    "datasets": reference.datasets,
    "recipes": training.recipes,
    "budgets": training.budgets,
    "layouts": reference.layouts,
    "layers": layers.layers,
    "layer": layers.layer,
    "networks": networks.networks,
    "network": networks.network,
    "ledger": networks.ledger,
    "agreement": networks.agreement,
    "claims": training.claims,
    "claim-scores": training.claim_scores,
    "commands": reference.commands,
    "api": reference.api,
    "conventions": reference.conventions,
    "results": results.results,
    "goals": results.goals,
    "speed": results.speed,
    "sweep": results.sweep,
    "triton": results.triton,
    "hardening": results.hardening,
}
"""What writes a part, by its name; each is given the file and the argument that stands behind the name."""

_PART = re.compile(
    r"(<!-- generated: (?P<name>[a-z-]+)(?: (?P<argument>\S+))? -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL
)


def files() -> list[Path]:
    """Return the files that may hold generated parts, and the one that is generated, sorted."""
    return sorted({GOALS, *(path for pattern in FILES for path in ROOT.glob(pattern))})


def updated(path: Path) -> str:
    """Return the text that the file ``path`` should have."""
    if path == GOALS:
        return goals.text()

    def replace(match: re.Match[str]) -> str:
        arguments = [match["argument"]] if match["argument"] else []
        return f"{match[1]}{PARTS[match['name']](path, *arguments)}\n{match[5]}"

    return _PART.sub(replace, path.read_text())
