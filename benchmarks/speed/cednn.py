"""Measure CEDNN against ResNet-18, and against itself exported; writes results/cednn-cpu.json.

    python -m benchmarks.speed.cednn [--rounds 15] [--threads 2] [--only WORDS] [--output FILE]

Each case, an environment (``environments.py``: a plain shell's first), a mode and a batch, has a process of its own, in
which each candidate runs once a round on the same 224 x 224 images; the order turns from round to round. Times are
medians with their quartiles, in milliseconds. ``eager`` and ``compiled`` say how many times faster than ResNet-18 in
eager mode, and than ResNet-18 in channels-last, compiled and frozen. ``ONNX Runtime`` and ``OpenVINO`` run the same
network exported, with a free batch as ``attnzoo.export_onnx`` writes it by default, and OpenVINO also with a fixed one;
in float32, OpenVINO also in what it takes by itself if that is something else. It takes about six minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import RESULTS, goals
from benchmarks.speed import environments, runtimes
from benchmarks.speed.interleaved import circumstances, write

MODULE = "benchmarks.speed.cednn"
RESULT = RESULTS / "cednn-cpu.json"
CASES = [
    (environment, mode, batch)
    for environment in environments.ENVIRONMENTS
    for mode, batch in (("inference", 1), ("inference", 8), ("training", 8))
]


def rows(environment: str, mode: str, batch: int, rounds: int, threads: int) -> Iterator[dict[str, Any]]:
    """Measure a case in a process of its own, and yield a row for each candidate."""
    for row in environments.rows(environment, "benchmarks.speed.cednn_cases", mode, batch, rounds, threads):
        yield {"environment": environment, "mode": mode, "batch": batch, **row}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help='all of these words in a case, as in "plain inference 8"')
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    cases = [case for case in CASES if set(arguments.only.split()) <= set(map(str, case))]
    if not cases:
        parser.error(f"--only: no case has all of {arguments.only!r}; one is {' '.join(map(str, CASES[0]))!r}")
    versions = runtimes.require()
    about = circumstances(MODULE, arguments.threads)
    about["machine"] |= {"environment": "each row's own", "variables": environments.ENVIRONMENTS}
    about["versions"] |= versions
    measured: list[dict[str, Any]] = []
    for case in cases:
        for row in rows(*case, arguments.rounds, arguments.threads):
            measured.append(row)
            print(*row.values(), flush=True)
        write(arguments.output, about, measured)
    Console().print(goals.table(goals.cednn(measured)))


if __name__ == "__main__":
    main()
