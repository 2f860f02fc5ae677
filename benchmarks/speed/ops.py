"""Measure CBAM and SE by every implementation, interleaved, and write results/ops-cpu.json.

    python -m benchmarks.speed.ops [--rounds 40] [--threads 2] [--quick] [--only WORDS] [--resume] [--output FILE]

The tests of the operations run first. Layers alone on eight images are run by every implementation; on one image, and
attached by default (behind a module that does nothing, the blend at 0.5), by ours and timm's. All is measured in the
tuned environment, see ``environments.py``. Within a round each candidate runs once on the same map, the copy of the map
with them; the order turns from round to round. Times are medians with their quartiles, in microseconds; ``copies`` is
a median over that of the copy; ``saved_maps`` is what is kept for the backward pass and ``peak_maps`` the most that is
allocated at once, both in maps, by torch's allocator. The file is written after every case, so that a run which was
stopped goes on with ``--resume``. At the end stands what the operations are held to, and whether they do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from benchmarks import RESULTS, ROOT
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, quartiles, write
from benchmarks.speed.ops_cases import (
    CASES,
    MEASURED,
    SHAPES,
    USERS_CASES,
    USERS_PROVIDERS,
    Case,
    peak_bytes,
    runner,
    saved_bytes,
)
from benchmarks.speed.ops_goals import table

RESULT = RESULTS / "ops-cpu.json"


def rows(case: Case, providers: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each provider of the case, and one for the copy."""
    torch.manual_seed(0)
    torch.compiler.reset()
    x, gradient = case.map(), case.map()
    target = torch.empty_like(x)
    calls: dict[str, Callable[[], object]] = {"copy": lambda: target.copy_(x)}
    for provider in providers:
        call = runner(case, provider, x, gradient)
        if call is not None:
            calls[provider] = call
    measured = quartiles(calls, rounds)
    size = x.numel() * x.element_size()
    for provider, (low, median, high) in measured.items():
        training = case.mode == "training" and provider != "copy"
        yield {
            "layer": case.layer,
            "mode": case.mode,
            "dtype": case.dtype,
            "layout": case.layout,
            "shape": list(case.shape),
            "provider": provider,
            "median_us": round(median, 1),
            "quartiles_us": [round(low, 1), round(high, 1)],
            "copies": round(median / measured["copy"][1], 2),
            "saved_maps": round(saved_bytes(calls[provider]) / size, 2) if training else None,
            "peak_maps": round(peak_bytes(calls[provider]) / size, 2),
        }


def main() -> None:
    """Run the tests, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="nothing compiled, one shape of an image")
    parser.add_argument("--only", default="", help='all of these words in a case, as in "cbam bf16 8x64x56x56"')
    parser.add_argument("--resume", action="store_true", help="go on with the file of a run that was stopped")
    parser.add_argument("--no-tests", action="store_true", help="skip the tests: for trying things out")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    environments.restart_in("tuned", "benchmarks.speed.ops")
    if not arguments.no_tests:
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", "tests/ops"], cwd=ROOT, check=True)
    torch.set_num_threads(arguments.threads)
    providers = [name for name in MEASURED if not (arguments.quick and name.endswith("compiled"))]
    cases = [case for case in CASES + USERS_CASES if all(word in case.words() for word in arguments.only.split())]
    if arguments.quick:
        cases = [case for case in cases if case.shape[1:] == SHAPES[1][1:]]
    if not cases:
        parser.error(f"--only: no case has all of {arguments.only!r}; one is {' '.join(CASES[0].words())!r}")
    about = circumstances("benchmarks.speed.ops", arguments.threads)
    measured = _kept(arguments.output, about) if arguments.resume else []
    done = {_key(row) for row in measured}
    console = Console()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=" ".join(case.words()))
            if case.key() not in done:
                measured += rows(case, providers if case in CASES else list(USERS_PROVIDERS), arguments.rounds)
                write(arguments.output, about, measured)
            progress.advance(task)
    console.print(table(measured))
    console.print(f"written: {arguments.output}")


def _kept(path: Path, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a run that was stopped; another commit's or other versions' may not stand beside ours."""
    before = json.loads(path.read_text())
    for name in ("commit", "versions"):
        if before[name] != about[name]:
            raise SystemExit(f"cannot resume {path}: its {name} is {before[name]}, here it is {about[name]}")
    found: list[dict[str, Any]] = before["rows"]
    return found


def _key(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["layer"], tuple(row["shape"]), row["dtype"], row["layout"], row["mode"]


if __name__ == "__main__":
    main()
