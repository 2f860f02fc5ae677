"""What attention adds to ResNet-50 at 224 x 224, in a plain shell and in a tuned one; writes results/resnet50.json.

    python -m benchmarks.measure_resnet50 [--rounds 30] [--threads 2] [--only WORDS] [--output FILE]

The environments are those of ``environments.py``. Each network has a process of its own, as a user's has, that has only
loaded it (``resnet50_cases.py`` says why): the bare network, attnzoo's CBAM and SE as ``attach`` makes them by default
and with ``init="paper"``, and timm's. They take turns, in an order drawn for each round; a batch of 1 or 2 has twice
the rounds. ``added_ms`` is the median over the rounds of what a network took more
than the bare one, ``of_timm`` that over what timm's layer adds, ``over_timm`` the median of its time over that with
timm's, ``page_faults`` the median of those of a pass. Training is a forward and a backward pass. It takes about ten
minutes and 8 GB; the file is written after every case.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks import environments, goals, workers
from benchmarks.interleaved import ROOT, circumstances, write
from benchmarks.resnet50_cases import NETWORKS, RIVALS

MODULE = "benchmarks.measure_resnet50"
RESULT = ROOT / "benchmarks" / "results" / "resnet50.json"
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


def rows(files: Sequence[Path], cases: Sequence[Case], rounds: int, threads: int) -> Iterator[list[dict[str, Any]]]:
    """Measure cases of one environment, and yield the rows of each, one for each network."""
    with workers.started("eager", files, cases[0].environment, threads) as found:
        for case in cases:
            turns = rounds * (2 if case.batch in TWICE else 1)
            figures = workers.figures(found, case.mode, case.batch, turns, RIVALS)
            yield [{**case._asdict(), "network": name, "rounds": turns, **each} for name, each in figures.items()]


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
    with Progress(console=console) as progress, tempfile.TemporaryDirectory() as folder:
        task = progress.add_task("cases", total=len(cases))
        files = workers.make(Path(folder), NETWORKS)
        for environment in environments.ENVIRONMENTS:
            own = [case for case in cases if case.environment == environment]
            for found in rows(files, own, arguments.rounds, arguments.threads) if own else ():
                measured += found
                write(arguments.output, about, measured)
                progress.advance(task)
    console.print(goals.table(goals.resnet50(measured)))
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
