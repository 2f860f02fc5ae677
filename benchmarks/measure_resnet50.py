"""What attention adds to ResNet-50 at 224 x 224, in a plain shell and in a tuned one; writes results/resnet50.json.

    python -m benchmarks.measure_resnet50 [--rounds 30] [--threads 2] [--only WORDS] [--output FILE]

Each case, an environment, a mode and a batch, has a process of its own, which finds the variables of that environment
and no others that allocators and thread pools read (``environments.py``). In it the bare network, attnzoo's CBAM and
SE as ``attach`` makes them by default and with ``init="paper"``, and timm's take turns, in an order drawn for each
round; a batch of 1 or 2 has twice the rounds. ``added_ms`` is the median over the rounds of what a network took more
than the bare one, ``of_timm`` that over what timm's layer adds, ``page_faults`` the median of those of a pass.
Training is a forward and a backward pass. It takes about ten minutes; the file is written after every case.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks import environments, goals
from benchmarks.interleaved import ROOT, circumstances, write

MODULE = "benchmarks.measure_resnet50"
RESULT = ROOT / "benchmarks" / "results" / "resnet50.json"
TWICE = (1, 2)
"""Batches that have twice the rounds, because their passes are short and what is added is little."""


class Case(NamedTuple):
    """What one process measures."""

    environment: str
    mode: str
    batch: int


CASES = [
    Case(environment, mode, batch)
    for environment in environments.ENVIRONMENTS
    for mode, batches in (("inference", (1, 2, 4, 8)), ("training", (4,)))
    for batch in batches
]


def rows(case: Case, rounds: int, threads: int) -> Iterator[dict[str, Any]]:
    """Measure a case in a process of its own, and yield a row for each network."""
    rounds *= 2 if case.batch in TWICE else 1
    command = [sys.executable, "-m", "benchmarks.resnet50_cases", case.mode, case.batch, rounds, threads]
    environ = environments.environ(case.environment)
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found = json.loads(done.stdout.rpartition("\n")[2])
    if found["variables"] != environments.ENVIRONMENTS[case.environment]:
        raise RuntimeError(f"the environment {case.environment!r} became {found['variables']} in the process measured")
    for network, figures in found["networks"].items():
        yield {**case._asdict(), "network": network, "rounds": rounds, **figures}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help='all of these words in a case, as in "plain inference 8"')
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    cases = [case for case in CASES if set(arguments.only.split()) <= set(map(str, case))]
    if not cases:
        parser.error(f"--only: no case has all of {arguments.only!r}; one is {' '.join(map(str, CASES[0]))!r}")
    about = circumstances(MODULE, arguments.threads)
    about["machine"] |= {"environment": "each row's own", "variables": environments.ENVIRONMENTS}
    measured: list[dict[str, Any]] = []
    console = Console()
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=" ".join(map(str, case)))
            measured += rows(case, arguments.rounds, arguments.threads)
            write(arguments.output, about, measured)
            progress.advance(task)
    console.print(goals.table(goals.resnet50(measured)))
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
