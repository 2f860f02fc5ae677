"""What CBAM adds to ResNet-50 at 224 x 224 as a graph: compiled, and exported; writes results/graphs.json.

    python -m benchmarks.speed.graphs [--rounds 30] [--threads 2] [--only WORDS] [--output FILE]

``compiled``: by ``torch.compile`` with its defaults, inference on eight images and a training step, forward and
backward, on four. ``onnxruntime`` and ``openvino``: written by ``attnzoo.export_onnx``, run on one image and on eight,
in float32, by OpenVINO also in what it takes by itself if that is something else. Everything in a plain shell's
environment, each case in a process of its own, in which the networks take turns: the bare one, with attnzoo's CBAM as
``attach`` makes it by default and with ``init="paper"``, and with timm's. ``added_ms``, ``of_timm``, ``page_faults``:
see measure_resnet50; ``over_timm`` is the median over the rounds of a network's time over that with timm's CBAM;
``nodes`` are those of the ONNX file. It takes about a quarter of an hour, of which compiling is most.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks import RESULTS, goals
from benchmarks.speed import environments, runtimes
from benchmarks.speed.interleaved import circumstances, write

MODULE = "benchmarks.speed.graphs"
RESULT = RESULTS / "graphs.json"
ENVIRONMENT = "plain"


class Case(NamedTuple):
    """What is measured together."""

    graph: str
    mode: str
    batch: int


def cases() -> list[Case]:
    """Return all cases; OpenVINO's own precision is another than float32 on some processors."""
    found = [Case("compiled", "inference", 8), Case("compiled", "training", 4)]
    precisions = dict.fromkeys(("f32", runtimes.openvino_default()))
    graphs = ("onnxruntime", *(f"openvino {precision}" for precision in precisions))
    return found + [Case(graph, "inference", batch) for graph in graphs for batch in (1, 8)]


def rows(case: Case, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Measure a case in a process of its own, and return a row for each network."""
    found = environments.rows(ENVIRONMENT, "benchmarks.speed.resnet50_turns", *case, rounds, threads)
    return [{**case._asdict(), "rounds": rounds, **row} for row in found]


def main() -> None:
    """Export, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help='all of these words in a case, as in "onnxruntime 8"')
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    versions = runtimes.require()
    wanted = set(arguments.only.split())
    chosen = [case for case in cases() if wanted <= set(" ".join(map(str, case)).split())]
    if not chosen:
        parser.error(f"--only: no case has all of {arguments.only!r}; one is {' '.join(map(str, cases()[0]))!r}")
    about = circumstances(MODULE, arguments.threads)
    about["machine"] |= {"environment": ENVIRONMENT, "variables": {}}
    about["versions"] |= versions
    measured: list[dict[str, Any]] = []
    console = Console()
    with Progress(console=console) as progress:
        for case in progress.track(chosen, description="cases"):
            measured += rows(case, arguments.rounds, arguments.threads)
            write(arguments.output, about, measured)
    console.print(goals.table(goals.graphs(measured)))
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
