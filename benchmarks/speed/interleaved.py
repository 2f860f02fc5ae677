"""Times of candidates that take turns, and under which circumstances they were taken."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from attnzoo import ops
from benchmarks import ROOT
from benchmarks.speed import environments


def quartiles(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3
) -> dict[str, tuple[float, float, float]]:
    """Return lower quartile, median and upper quartile of each call in microseconds."""
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        for _ in range(warm_up):
            calls[name]()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            calls[name]()
            times[name].append((time.perf_counter() - start) * 1e6)
    return {name: tuple(statistics.quantiles(values, n=4)) for name, values in times.items()}  # type: ignore[misc]


def measured(module: str, about: str | None, result: Path, measure: Callable[[int], list[dict[str, Any]]]) -> None:
    """Be the script ``module``: read its arguments, measure by so many rounds, print the rows and write the result."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=result)
    arguments = parser.parse_args()
    environments.restart_in("tuned", module)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    found = circumstances(module, arguments.threads)
    rows = measure(arguments.rounds)
    for row in rows:
        print(*row.values(), flush=True)
    write(arguments.output, found, rows)


def circumstances(module: str, threads: int) -> dict[str, Any]:
    """Return what a result says about itself; called before anything is measured, it knows the machine's load."""
    return {
        "command": f"python -m {module} " + " ".join(sys.argv[1:]),
        "commit": commit(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load_before": round(os.getloadavg()[0], 2),
            "native": ops.backends()["native"].detail.split()[0],
            "environment": environments.name(),
            "variables": environments.variables(),
            "accelerator": None,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "torchvision": torchvision.__version__,
        },
    }


def conditions() -> str:
    """Return in one line how the process that runs computes: environment, processor, threads, kernels, versions."""
    found = environments.variables()
    said = " ".join(f"{name}={value}" for name, value in found.items()) or "no variable for allocator or threads is set"
    kernels = ops.backends()["native"].detail.split()[0]
    return (
        f"environment {environments.name()} ({said}), {_processor()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, native {kernels}, torch {torch.__version__}, timm {timm.__version__}"
    )


def write(path: Path, about: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    fresh.replace(path)


def commit() -> str:
    """Return the commit that is checked out, and whether anything but results differs from it."""
    changed = _git("status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results")
    return _git("rev-parse", "HEAD") + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
