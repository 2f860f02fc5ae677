"""Parts drawn from committed results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.speed.ops_goals import verdicts
from docs.generate import hardening as hardening_tables
from docs.generate import speed as speed_tables
from docs.generate import triton_builds
from docs.generate.markdown import made, number, table


def results(path: Path, name: str) -> str:
    """Return the table of a committed benchmark result, ``benchmarks/results/<name>.json``, with where it was made."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    header = list(result["rows"][0])
    rows = [[number(row[column]) for column in header] for row in result["rows"]]
    return f"{table(header, rows)}\n\n{made(result)}"


def sweep(path: Path) -> str:
    """Return what became of attaching to every family of models, and under which conditions."""
    result = json.loads((RESULTS / "attach-sweep.json").read_text())
    totals = [
        (library, f"{total['stage']} of {total['families']}", f"{total['block']} of {total['families']}")
        for library, total in result["summary"].items()
    ]
    rows = []
    for line in result["models"]:
        layout = line.get("layout", {})
        proven = f"{layout['proven']} of {layout['spots']}" if layout else "-"
        outcomes = (_outcome(line, where, result["checks"]) for where in ("stage", "block"))
        rows.append((line["family"], f"`{line['model']}`", *outcomes, proven))
    conditions = result["conditions"]
    made = ", ".join(f"{key} {conditions[key]}" for key in ("python", "torch", "timm", "torchvision", "device"))
    return (
        f"{table(('library', 'families that pass at stages', 'at blocks'), totals)}\n\n"
        f"{table(('family', 'model', 'stage', 'block', 'layouts seen at two aspect ratios'), rows)}\n\n"
        f"`{result['command']}`, commit {conditions['commit'][:10]}, {result['date'][:10]}; {made}."
    )


def _outcome(line: Mapping[str, Any], where: str, checks: Sequence[str]) -> str:
    """Return how many sites a family has, or what failed there."""
    if "error" in line:
        return str(line["error"])
    if where in line.get("refused", {}):
        return f"refused: {line['refused'][where]}"
    layers = line["results"][where]
    failed = [f"{layer}: {check}" for layer, outcome in layers.items() for check in checks if not outcome.get(check)]
    return "failed: " + ", ".join(failed) if failed else f"{next(iter(layers.values()))['sites']} sites"


def speed(path: Path, name: str) -> str:
    """Return a table of how fast networks are, see speed.py, with where it was measured."""
    file, draw = speed_tables.TABLES[name]
    measured = RESULTS / f"{file}.json"
    if not measured.exists():
        return f"Not measured yet: `python -m benchmarks.speed.{file}`."
    result = json.loads(measured.read_text())
    header, rows = draw(result["rows"])
    return f"{table(header, rows)}\n\n{made(result)}"


def triton(path: Path, name: str) -> str:
    """Return a table of what the Triton kernels move or became, see triton_builds.py."""
    result = json.loads((RESULTS / "triton-builds.json").read_text())
    header, rows, note = triton_builds.TABLES[name](result)
    return f"{table(header, rows)}\n\n{note}"


def hardening(path: Path, name: str) -> str:
    """Return a table of what was tried of every layer and reader, see hardening.py."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    header, rows, note = hardening_tables.TABLES[name](result)
    return f"{table(header, rows)}\n\n{note}"


def goals(path: Path) -> str:
    """Return what the operations are held to beside what was measured."""
    rows = json.loads((RESULTS / "ops-cpu.json").read_text())["rows"]
    found = verdicts(rows)
    shown = (
        (
            v.name,
            v.goal,
            f"{v.measured:.2f}",
            "-" if v.at_floor is None else f"{v.at_floor:.2f}",
            "yes" if v.held else "**no**",
        )
        for v in found
    )
    return table(("what", "goal", "measured", "at the floor", "held"), shown)
