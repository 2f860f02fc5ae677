"""ResNet-50 as a graph, bare and with CBAM: compiled by torch, or exported; timed in one process.

    python -m benchmarks.graphs_cases export FOLDER
    python -m benchmarks.graphs_cases GRAPH MODE BATCH ROUNDS THREADS [FOLDER]

``measure_graphs`` starts it, in the environment that is to be measured, and reads the JSON that it prints. ``GRAPH`` is
``compiled`` (``torch.compile`` by its defaults), ``onnxruntime``, ``openvino f32`` or ``openvino bf16``; the latter
three run the files in ``FOLDER``. Before its time is taken, a graph must compute what its network does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import attnzoo
from benchmarks import environments, runtimes
from benchmarks.added_time import summary, timed
from benchmarks.resnet50_cases import SIZE, attached, bare, slotted, step

TOLERANCE = {"compiled": 1e-3, "onnxruntime": 1e-3, "openvino f32": 1e-3, "openvino bf16": 0.2}
RIVALS = {"attnzoo": "timm", "attnzoo paper": "timm"}
Calls = Mapping[str, Callable[[], object]]


def networks() -> dict[str, nn.Module]:
    """Return the bare network, with CBAM attached by default and as in the paper, and with timm's."""
    first = bare()
    return {
        "bare": first,
        "attnzoo": attached("cbam", "identity", first),
        "attnzoo paper": attached("cbam", "paper", first),
        "timm": slotted("cbam", first),
    }


def images(batch: int) -> Tensor:
    """Return the same random images at every call."""
    return torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def export(folder: Path) -> None:
    """Write each network as ``FOLDER/NAME.onnx``, by attnzoo's exporter, and beside it what it computes."""
    for name, network in networks().items():
        attnzoo.export_onnx(network.eval(), (images(2),), folder / f"{name}.onnx", check=False)
        with torch.no_grad():
            torch.save(network(images(1)), folder / f"{name}.pt")


def compiled(mode: str, batch: int) -> Calls:
    """Return the networks compiled, by their names."""
    calls = {}
    for name, network in networks().items():
        network.train(mode == "training")
        graph = torch.compile(network, dynamic=False)
        with torch.set_grad_enabled(mode == "training"):
            runtimes.check(name, graph(images(batch)), network(images(batch)), TOLERANCE["compiled"])
        calls[name] = step(graph, mode, images(batch))
    return calls


def exported(graph: str, batch: int, threads: int, folder: Path) -> Calls:
    """Return the networks' files as a runtime runs them, by their names."""
    calls = {}
    for name in ("bare", *RIVALS, "timm"):
        for size in (1, batch):  # the first is compared, the second measured
            path = folder / f"{name}.onnx"
            if graph == "onnxruntime":
                calls[name] = runtimes.by_onnxruntime(path, images(size), threads)
            else:
                calls[name] = runtimes.by_openvino(path, images(size), threads, graph.split()[1])
            if size == 1:
                expected = torch.load(folder / f"{name}.pt", weights_only=True)
                runtimes.check(f"{name} by {graph}", calls[name](), expected, TOLERANCE[graph])
    return calls


def main() -> None:
    """Export, or time one case and print it."""
    if sys.argv[1] == "export":
        export(Path(sys.argv[2]))
        return
    graph, mode, batch, rounds, threads, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    folder = Path(*rest)
    calls = compiled(mode, int(batch)) if graph == "compiled" else exported(graph, int(batch), int(threads), folder)
    found: dict[str, Any] = summary(timed(calls, int(rounds)), RIVALS)
    json.dump({"variables": environments.variables(), "networks": found}, sys.stdout)


if __name__ == "__main__":
    main()
