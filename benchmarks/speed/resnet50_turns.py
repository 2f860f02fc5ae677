"""ResNet-50, bare and with attention, timed in one process in which the networks take turns.

    python -m benchmarks.speed.resnet50_turns GRAPH MODE BATCH ROUNDS THREADS [NETWORK ...]

``measure_resnet50`` and ``measure_graphs`` start it in the environment to measure and read the JSON that it prints.
``GRAPH`` is ``eager``, ``compiled`` (``torch.compile`` by its defaults), ``onnxruntime``, ``openvino f32`` or
``openvino bf16``; the latter three run files that ``attnzoo.export_onnx`` has written, with free batch and size, as it
does by default. A graph must compute what the network does before its time is taken.

The networks share one process, and with it what the process has of memory: how often the system hands out memory anew
depends on everything that was allocated before, so that in processes of their own one network may have 60,000 page
faults a pass and another one none, for no reason of its own. ``NETWORK``, by default all that the graph is measured
for, may name one alone, to see that.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import attnzoo
from benchmarks.speed import environments, runtimes
from benchmarks.speed.added_time import Pass, in_turns, one_pass, summary
from benchmarks.speed.resnet50_cases import NETWORKS, RIVALS, images, make, step

WARM_UP = 2
PAUSE = 0.005
"""Seconds before each pass, in which the threads of the one before fall asleep."""
TOLERANCE = {"compiled": 1e-3, "onnxruntime": 1e-3, "openvino f32": 1e-3, "openvino bf16": 0.2}
Call = Callable[[], object]


def compiled(network: nn.Module, mode: str, batch: int) -> Call:
    """Return a function that runs a network compiled."""
    network.train(mode == "training")
    graph: nn.Module = torch.compile(network, dynamic=False)
    with torch.set_grad_enabled(mode == "training"):
        runtimes.check("compiled", graph(images(batch)), network(images(batch)), TOLERANCE["compiled"])
    return step(graph, mode, batch)


def exported(network: nn.Module, graph: str, batch: int, threads: int, path: Path) -> Call:
    """Return a function that runs a network's file by a runtime."""
    attnzoo.export_onnx(network, (images(2),), path, check=False)
    x = images(batch)
    if graph == "onnxruntime":
        call = runtimes.by_onnxruntime(path, x, threads)
    else:
        call = runtimes.by_openvino(path, x, threads, graph.split()[1])
    with torch.no_grad():
        runtimes.check(graph, call(), network(x), TOLERANCE[graph])
    return call


def turn(call: Call) -> Callable[[], Pass]:
    """Return a function that waits until the cores are quiet and runs one pass."""

    def timed() -> Pass:
        time.sleep(PAUSE)
        return one_pass(call)

    return timed


def main() -> None:
    """Make the networks, check them, time them in turns and print the figures."""
    graph, mode, *numbers = sys.argv[1:6]
    batch, rounds, threads = map(int, numbers)
    torch.set_num_threads(threads)
    measured = NETWORKS if graph == "eager" else [name for name in NETWORKS if name == "bare" or name.endswith("cbam")]
    names = sys.argv[6:] or measured
    calls: dict[str, Call] = {}
    nodes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            network, path = make(name).eval(), Path(folder, f"{name}.onnx")
            if graph == "eager":
                calls[name] = step(network, mode, batch)
            elif graph == "compiled":
                calls[name] = compiled(network, mode, batch)
            else:
                calls[name] = exported(network, graph, batch, threads, path)
                nodes[name] = runtimes.nodes(path)
        for call in calls.values():
            for _ in range(WARM_UP):
                call()
        found = summary(in_turns({name: turn(call) for name, call in calls.items()}, rounds), RIVALS)
    rows: list[dict[str, Any]] = [{"network": name, "nodes": nodes.get(name), **row} for name, row in found.items()]
    json.dump({"variables": environments.variables(), "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main()
