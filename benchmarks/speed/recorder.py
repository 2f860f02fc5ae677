"""What the recorder costs: one forward pass of ResNet-50 with CBAM after each block, recorded and not.

Passes are interleaved: bare, recorded, recorded on every tenth pass, in turn. A cost is the median over the rounds of
what a pass took more than the bare one of its round, so that a machine whose speed drifts does not count. CBAM is
attached as it is by default (identity) and as in the paper. Gates are kept and counted as ``attnzoo.record`` does by
default. In a plain shell's environment, see ``environments.py``.

    python -m benchmarks.speed.recorder [--batch 8] [--size 224] [--seconds 60] [--threads 2] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import timm
import torch

import attnzoo
from benchmarks import RESULTS
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, write

MODULE = "benchmarks.speed.recorder"
RESULT = RESULTS / "recorder.json"
STRIDE = 10


def measured(init: str, batch: int, size: int, seconds: float) -> dict[str, Any]:
    """Return the row of one way to attach."""
    torch.manual_seed(0)
    model = timm.create_model("resnet50").eval()
    attnzoo.attach(model, "cbam", where="block", init=init)
    x = torch.randn(batch, 3, size, size)
    times: dict[str, list[float]] = {"bare": [], "recorded": [], "strided": []}
    recorders = {"recorded": attnzoo.record(model), "strided": attnzoo.record(model, stride=STRIDE)}
    with torch.inference_mode():
        for _ in range(2):
            model(x)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for kind, taken in times.items():
                if kind == "bare":
                    taken.append(_timed(model, x))
                else:
                    with recorders[kind]:
                        taken.append(_timed(model, x))
    return {
        "attached": init,
        "gates": len(recorders["recorded"].statistics()),
        "bare ms": statistics.median(times["bare"]) * 1e3,
        "recorded, cost %": _cost(times, "recorded"),
        "its quartiles": _quartiles(times, "recorded"),
        f"every {STRIDE}th recorded, cost %": _cost(times, "strided"),
        "quartiles of every tenth": _quartiles(times, "strided"),
        "rounds": len(times["bare"]),
    }


def _shares(times: dict[str, list[float]], kind: str) -> list[float]:
    """Return for each round how much longer it took than the bare pass of that round, in percent."""
    return [100 * (taken / bare - 1) for taken, bare in zip(times[kind], times["bare"], strict=True)]


def _cost(times: dict[str, list[float]], kind: str) -> float:
    return statistics.median(_shares(times, kind))


def _quartiles(times: dict[str, list[float]], kind: str) -> list[float]:
    low, _, high = statistics.quantiles(_shares(times, kind), n=4)
    return [low, high]


def _timed(model: torch.nn.Module, x: torch.Tensor) -> float:
    start = time.perf_counter()
    model(x)
    return time.perf_counter() - start


def main() -> None:
    """Run the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring, for all rows together")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    environments.restart_in("plain", MODULE)
    torch.set_num_threads(arguments.threads)
    about = circumstances(MODULE, arguments.threads)
    rows = [measured(init, arguments.batch, arguments.size, arguments.seconds / 2) for init in ("identity", "paper")]
    write(arguments.output, about, rows)
    json.dump(rows, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
