"""What attention adds to ResNet-50 at 224 x 224, in a plain shell and in a tuned one; writes results/resnet50.json.

    python -m benchmarks.speed.resnet50 [--rounds 30] [--threads 2] [--only WORDS] [--output FILE]

The environments are those of ``environments.py``. Each case, an environment, a mode and a batch, has a process of its
own, in which the networks of ``resnet50_cases.py`` take turns, in an order drawn for each round: the bare one,
attnzoo's CBAM and SE as ``attach`` makes them by default and with ``init="paper"``, and timm's. A batch of 1 or 2 has
twice the rounds. Inference in a plain shell is run by each network in a process to itself as well (``alone_ms``,
``page_faults_alone``): there the system may hand out memory anew for every map, or not, as luck has it, so that the two
environments differ less side by side than alone. ``added_ms`` is the median over the rounds of what a network took more
than the bare one, ``of_timm`` that over what timm's layer adds, ``over_timm`` the median of its time over that with
timm's, ``page_faults`` the median of those of a pass. Training is a forward and a backward pass. It takes about a
quarter of an hour and 4 GB; the file is written after every case.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks import RESULTS, goals
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, write
from benchmarks.speed.resnet50_cases import NETWORKS

MODULE = "benchmarks.speed.resnet50"
RESULT = RESULTS / "resnet50.json"
ALONE = 9
"""Passes of a network in a process to itself."""
TWICE = (1, 2)
"""Batches that have twice the rounds, because their passes are short and what is added is little."""


class Case(NamedTuple):
    """What is measured together."""

    environment: str
    mode: str
    batch: int


CASES = [
    Case(environment, mode, batch)
    for environment in environments.ENVIRONMENTS
    for mode, batches in (("inference", (1, 2, 4, 8)), ("training", (4,)))
    for batch in batches
]


def rows(case: Case, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Measure a case in a process of its own, and return a row for each network."""
    turns = rounds * (2 if case.batch in TWICE else 1)
    found = environments.rows(
        case.environment, "benchmarks.speed.resnet50_turns", "eager", case.mode, case.batch, turns, threads
    )
    for row in found:
        del row["nodes"]  # of graphs
    return [{**case._asdict(), "rounds": turns, **row} for row in found]


def alone(case: Case, threads: int) -> dict[str, dict[str, Any]]:
    """Return what networks do that have a process to themselves: milliseconds and page faults of a pass."""
    arguments = ("benchmarks.speed.resnet50_turns", "eager", case.mode, case.batch, ALONE, threads)
    found = [environments.rows(case.environment, *arguments, name)[0] for name in NETWORKS]
    return {row["network"]: {"alone_ms": row["median_ms"], "page_faults_alone": row["page_faults"]} for row in found}


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
        for case in progress.track(cases, description="cases"):
            found = rows(case, arguments.rounds, arguments.threads)
            if (case.environment, case.mode) == ("plain", "inference"):
                others = alone(case, arguments.threads)
                found = [{**row, **others[row["network"]]} for row in found]
            measured += found
            write(arguments.output, about, measured)
    console.print(goals.table(goals.resnet50(measured)))
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
