"""A process that has one network and runs it when it is told to.

    python -m benchmarks.network_worker GRAPH FILE THREADS

``workers.py`` starts it, in the environment that is to be measured. ``FILE`` is a whole network that
``resnet50_cases`` has written. ``GRAPH`` is ``eager``, ``compiled`` (``torch.compile`` by its defaults),
``onnxruntime``, ``openvino f32`` or ``openvino bf16``; the latter three run the ONNX file beside it. It reads a JSON
list a line: ``["case", MODE, BATCH]`` prepares a case, ``["pass"]`` runs it once and answers with milliseconds and page
faults. Before a graph's time is taken it must compute what the network does.
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

from benchmarks import environments, runtimes
from benchmarks.added_time import one_pass
from benchmarks.resnet50_cases import images, step

WARM_UP = 2
TOLERANCE = {"compiled": 1e-3, "onnxruntime": 1e-3, "openvino f32": 1e-3, "openvino bf16": 0.2}


class Graph:
    """A network in one of the forms that it is run in."""

    def __init__(self, graph: str, file: Path, threads: int) -> None:
        self.graph, self.threads = graph, threads
        self.network: nn.Module = torch.load(file, weights_only=False)  # whole, by a program of ours, a moment ago
        self.file = file.with_suffix(".onnx")

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
    graph, file, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whoever else prints does not print among the answers
    torch.set_num_threads(int(threads))
    own = Graph(graph, Path(file), int(threads))
    call: Callable[[], object] | None = None

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")

    say(environments.variables())
    for line in sys.stdin:
        what, *case = json.loads(line)
        if what == "case":
            call = None  # its maps are given back
            call = own.case(*case)
            for _ in range(WARM_UP):
                call()
            say("ready")
        elif call is not None:
            say(one_pass(call))


if __name__ == "__main__":
    main()
