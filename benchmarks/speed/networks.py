"""Measure LLA-Net, DBA's head and the operations of their layers, interleaved, and write results/networks-cpu.json.

    python -m benchmarks.speed.networks [--rounds 12] [--threads 2] [--only NAME] [--output FILE]

The tests of what is measured run first. Times are medians with their quartiles, in microseconds; ``over_ours`` is a
median over that of ``ours``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS, ROOT
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, quartiles, write
from benchmarks.speed.networks_cases import subjects

RESULT = RESULTS / "networks-cpu.json"
TESTS = (
    "tests/ops/test_values.py",
    "tests/reference_models/networks/test_lla_net.py",
    "tests/reference_models/networks/test_dba_net.py",
)


def main() -> None:
    """Run the tests, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="subjects whose name begins so; the others are left out")
    parser.add_argument("--no-tests", action="store_true", help="the tests have just passed")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    environments.restart_in("tuned", "benchmarks.speed.networks")
    if not arguments.no_tests:
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", *TESTS], cwd=ROOT, check=True)  # noqa: S603
    torch.set_num_threads(arguments.threads)
    about = circumstances("benchmarks.speed.networks", arguments.threads)
    table: list[dict[str, Any]] = []
    for subject in subjects():
        if not subject.name.startswith(arguments.only):
            continue
        measured = quartiles(subject.calls, arguments.rounds, warm_up=1)
        for candidate, (low, median, high) in measured.items():
            row = {
                "subject": subject.name,
                "mode": subject.mode,
                "shape": list(subject.shape),
                "candidate": candidate,
                "median_us": round(median, 1),
                "quartiles_us": [round(low, 1), round(high, 1)],
                "over_ours": round(median / measured["ours"][1], 3),
            }
            table.append(row)
            print(*row.values(), sep=" | ", flush=True)
    write(arguments.output, about, table)


if __name__ == "__main__":
    main()
