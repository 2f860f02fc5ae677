"""Export every layer, the four networks and attention on families of timm's, and run the files.

    python -m benchmarks.sweeps.export                        # all that is not in the cache yet
    python -m benchmarks.sweeps.export --only layer/cbam      # prints, writes no result
    python -m benchmarks.sweeps.export --fresh                # forget the cache

A finished case is a JSON line in the cache, so that the sweep can be stopped and goes on where it was; the cache counts
only for the sources and versions that it was made with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import RESULTS, ROOT
from benchmarks.speed.export_case import FIGURES, measured
from benchmarks.speed.export_cases import cases
from benchmarks.speed.interleaved import circumstances, write

RESULT = RESULTS / "export.json"
CACHE = ROOT / "benchmarks/.cache/export.jsonl"
SOURCES = (
    *(f"attnzoo/{part}" for part in ("attach", "export", "layers", "ops")),
    *(f"reference_models/{name}.py" for name in ("cednn", "cednn_top", "dba_net", "lla_net", "tra_net")),
    *(f"benchmarks/{name}.py" for name in ("export_cases", "export_case")),
)
RUNTIMES = ("onnxruntime", "torch.export")
TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"of {', '.join(cases())}")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--fresh", action="store_true", help="forget the cache")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    wanted = options.only or list(cases())
    if unknown := sorted(set(wanted) - set(cases())):
        parser.error(f"unknown cases {unknown}; known are {', '.join(cases())}")
    if options.fresh:
        options.cache.unlink(missing_ok=True)
    options.cache.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    about = circumstances("benchmarks.sweeps.export", threads=1)
    about["versions"] |= {name: metadata.version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    about["tolerance"] = TOLERANCE
    made_of = {"sources": _hashes(), "versions": about["versions"]}
    done = _cached(options.cache, made_of)
    console = Console(stderr=True)
    for name in track([name for name in wanted if name not in done], "exporting", console=console):
        row = _row(name)
        with options.cache.open("a") as cache:
            cache.write(json.dumps({"made_of": made_of, "row": row}) + "\n")
        done[name] = row
    rows = [done[name] for name in wanted]
    Console().print(_table(rows))
    if not options.only:
        write(options.output, about, rows)
    sys.exit(0 if all(passed(row) for row in rows) else 1)


def passed(row: dict[str, Any]) -> bool:
    """Tell whether a case has agreed in every format."""
    return not row["error"] and max(row[name] for name in RUNTIMES) <= TOLERANCE


def _row(name: str) -> dict[str, Any]:
    """Return the row of a case; that it cannot be exported is a result too."""
    case = cases()[name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            return measured(case, Path(folder))
    except (ValueError, RuntimeError) as error:
        return {"group": case.group, "case": case.name, **dict.fromkeys(FIGURES), "error": str(error).splitlines()[0]}


def _hashes() -> list[str]:
    command = ["git", "rev-parse", *(f"HEAD:{path}" for path in SOURCES)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603


def _cached(cache: Path, made_of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    lines = cache.read_text().splitlines() if cache.exists() else []
    known = [json.loads(line) for line in lines]
    rows = [line["row"] for line in known if line["made_of"] == made_of and not line["row"]["error"]]
    return {f"{row['group']}/{row['case']}": row for row in rows}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.2g}" if isinstance(value, float) else str(value or "-") for value in row.values()))
    return table


if __name__ == "__main__":
    main()
