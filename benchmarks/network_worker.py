"""A process that has one network and runs it when it is told to.

    python -m benchmarks.network_worker GRAPH NETWORK THREADS [FOLDER]

``workers.py`` starts it, in the environment that is to be measured. ``GRAPH`` is ``eager``, ``compiled``
(``torch.compile`` by its defaults), ``onnxruntime``, ``openvino f32`` or ``openvino bf16``; the latter three export the
network to the folder first. It reads a JSON list a line: ``["case", MODE, BATCH]`` prepares a case, ``["pass"]`` runs
it once and answers with milliseconds and page faults. Before a graph's time is taken it must compute what the network
does; then the holes of the heap are filled (``heap.py``), so that all networks find it alike.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import environments, heap, runtimes
from benchmarks.added_time import one_pass
from benchmarks.resnet50_cases import export, images, make, step

WARM_UP = 2
TOLERANCE = {"compiled": 1e-3, "onnxruntime": 1e-3, "openvino f32": 1e-3, "openvino bf16": 0.2}


class Graph:
    """A network in one of the forms that it is run in."""

    def __init__(self, graph: str, network: str, threads: int, folder: Path) -> None:
        self.graph, self.network, self.threads = graph, make(network), threads
        self.file = folder / f"{network}.onnx"
        self.nodes = None
        if graph not in {"eager", "compiled"}:
            export(self.network, self.file)
            self.nodes = runtimes.nodes(self.file)

    def case(self, mode: str, batch: int) -> Callable[[], object]:
        """Return a function that runs one case once; what it computes has been compared."""
        if self.graph == "eager":
            return step(self.network, mode, batch)
        if self.graph == "compiled":
            return self._compiled(mode, batch)
        x = images(batch)
        if self.graph == "onnxruntime":
            call = runtimes.by_onnxruntime(self.file, x, self.threads)
        else:
            call = runtimes.by_openvino(self.file, x, self.threads, self.graph.split()[1])
        with torch.no_grad():
            runtimes.check(self.graph, call(), self.network(x), TOLERANCE[self.graph])
        return call

    def _compiled(self, mode: str, batch: int) -> Callable[[], object]:
        torch.compiler.reset()
        self.network.train(mode == "training")
        compiled: nn.Module = torch.compile(self.network, dynamic=False)
        with torch.set_grad_enabled(mode == "training"):
            runtimes.check(self.graph, compiled(images(batch)), self.network(images(batch)), TOLERANCE[self.graph])
        return step(compiled, mode, batch)


def main() -> None:
    """Answer until nobody asks any more."""
    graph, network, threads, *folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whoever else prints does not print among the answers
    torch.set_num_threads(int(threads))
    own = Graph(graph, network, int(threads), Path(*folder))
    call: Callable[[], object] | None = None

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")

    say({"variables": environments.variables(), "nodes": own.nodes})
    for line in sys.stdin:
        what, *case = json.loads(line)
        if what == "case":
            call = None  # its maps are given back
            call = own.case(*case)
            filled = heap.fill_holes()
            for _ in range(WARM_UP):
                call()
            say({"filled": filled})
        elif call is not None:
            say(one_pass(call))


if __name__ == "__main__":
    main()
