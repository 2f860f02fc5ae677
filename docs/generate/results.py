"""Parts drawn from committed results."""

from __future__ import annotations

from pathlib import Path

from benchmarks import RESULTS
from benchmarks.committed import Results
from benchmarks.speed.ops_goals import verdicts
from benchmarks.tables.sweep import WHERE, Outcome, layouts, outcome
from docs.generate import hardening as hardening_tables
from docs.generate import speed as speed_tables
from docs.generate import triton_builds
from docs.generate.markdown import made, made_on, number, table


def results(path: Path, name: str) -> str:
    """Return the table of a committed benchmark result, ``benchmarks/results/<name>.json``, with where it was made."""
    result = Results(RESULTS).need(name)
    header = list(result["rows"][0])
    rows = [[number(row[column]) for column in header] for row in result["rows"]]
    return f"{table(header, rows)}\n\n{made(result)}"


def sweep(path: Path) -> str:
    """Return what became of attaching to every family of models, and under which conditions."""
    result = Results(RESULTS).need("attach-sweep")
    totals = [
        (library, f"{total['stage']} of {total['families']}", f"{total['block']} of {total['families']}")
        for library, total in result["summary"].items()
    ]
    rows = []
    for model in result["models"]:
        outcomes = (_outcome(outcome(model, where, result["checks"])) for where in WHERE)
        rows.append((model["family"], f"`{model['model']}`", *outcomes, layouts(model)))
    conditions = result["conditions"]
    versions = ", ".join(f"{key} {conditions[key]}" for key in ("python", "torch", "timm", "torchvision", "device"))
    return (
        f"{table(('library', 'families that pass at stages', 'at blocks'), totals)}\n\n"
        f"{table(('family', 'model', 'stage', 'block', 'layouts seen at two aspect ratios'), rows)}\n\n"
        f"{made_on({**conditions, **result})}; {versions}."
    )


def _outcome(found: Outcome) -> str:
    if found.text == "error":
        return found.reason
    return f"{found.text}: {found.reason}" if found.reason else found.text


def speed(path: Path, name: str) -> str:
    """Return a table of how fast networks are, see speed.py, with where it was measured."""
    file, draw = speed_tables.TABLES[name]
    result = Results(RESULTS).need(file)
    header, rows = draw(result["rows"])
    return f"{table(header, rows)}\n\n{made(result)}"


def triton(path: Path, name: str) -> str:
    """Return a table of what the Triton kernels move or became, see triton_builds.py."""
    result = Results(RESULTS).need("triton-builds")
    header, rows, note = triton_builds.TABLES[name](result)
    return f"{table(header, rows)}\n\n{note}"


def hardening(path: Path, name: str) -> str:
    """Return a table of what was tried of every layer and reader, see hardening.py."""
    result = Results(RESULTS).need(name)
    header, rows, note = hardening_tables.TABLES[name](result)
    return f"{table(header, rows)}\n\n{note}"


def goals(path: Path) -> str:
    """Return what the operations are held to beside what was measured."""
    found = verdicts(Results(RESULTS).need("ops-cpu")["rows"])
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
