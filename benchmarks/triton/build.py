"""Builds the Triton kernels for devices that are not here, and counts what they move; writes a JSON file.

    python -m benchmarks.triton.build [--output benchmarks/results/triton-builds.json]

Registers, spilled bytes and the widths of accesses are read from what the compiler makes for each device; bytes are
counted in the interpreter. Nothing is timed: there need be no GPU.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS, ROOT
from benchmarks.speed.interleaved import commit
from benchmarks.triton.cases import LAYOUTS, MAPS, Case

RESULT = RESULTS / "triton-builds.json"
BUILDS = [
    *[((1, 256, 56, 56), dtype, capability) for dtype in ("fp32", "bf16") for capability in (80, 90)],
    ((1, 1024, 14, 14), "bf16", 90),
    ((1, 2048, 7, 7), "bf16", 90),
]
MOVED = ((1, 256, 28, 28), "bf16")


def builds() -> list[dict[str, Any]]:
    """Return a row for each kernel, map and device."""
    from benchmarks.triton.compiled import compiled

    rows = []
    for shape, dtype, capability in BUILDS:
        for layout in LAYOUTS:
            for operation, work in Case(shape, dtype, layout).works().items():
                with compiled(capability) as made:
                    work.run()
                rows += [
                    {"operation": operation, "shape": list(shape), "dtype": dtype, "layout": layout}
                    | {"capability": capability, **build._asdict()}
                    for build in made
                ]
    return rows


def traffic() -> list[dict[str, Any]]:
    """Return a row for each operation and layout: maps moved, and what is moved besides in maps."""
    from benchmarks.triton.meter import metered

    rows = []
    for layout in LAYOUTS:
        case = Case(*MOVED, layout)
        size = case.map(0).numel() * case.map(0).element_size()
        for operation, work in case.works().items():
            with metered() as launches:
                work.run()
            moved = [(k, n) for launch in launches for part in (launch.read, launch.written) for k, n in part.items()]
            maps = sum(n for k, n in moved if k in MAPS)
            besides = sum(n for k, n in moved if k not in MAPS)
            distinct = sum(a.distinct() for launch in launches for a in launch.arguments if a.name not in MAPS)
            counted = {"maps": maps / size, "floor": work.floor}
            counted |= {"besides": round(besides / size, 4), "distinct": round(distinct / size, 4)}
            rows.append({"operation": operation, "layout": layout, "launches": len(launches), **counted})
    return rows


def main() -> None:
    """Build, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--traffic", action="store_true", help="only print what is moved, as JSON")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if arguments.traffic:
        print(json.dumps(traffic()))
        return
    command = [sys.executable, "-m", "benchmarks.triton.build", "--traffic"]
    interpreted = os.environ | {"TRITON_INTERPRET": "1"}
    counted = subprocess.run(command, cwd=ROOT, env=interpreted, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    result = {
        "command": "python -m benchmarks.triton.build",
        "commit": commit(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "triton")} | {"python": platform.python_version()},
        "maps": sorted(MAPS),
        "counted_on": {"shape": list(MOVED[0]), "dtype": MOVED[1]},
        "traffic": json.loads(counted.stdout),
        "builds": builds(),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
