"""Measure every layer on one map, timm's attentions beside ours, and write results/layers-cpu.json.

    python -m benchmarks.speed.layers [--rounds 15] [--threads 2] [--output FILE]

Eight images of 192 x 28 x 28, fp32, NCHW; DBA's pyramid as in the documentation. Within a round each candidate runs
once; the order turns from round to round. Ours run as they do by default and by plain torch. Times are medians with
their quartiles in microseconds, of a forward pass without gradients, and of forward and backward; ``peak_bytes`` is the
most that torch's allocator holds at once, ``saved_bytes`` what is kept for the backward pass. Parameters, MACs
(fvcore) and activation bytes are counted for one image, see attnzoo.cost.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import attnzoo
from benchmarks import RESULTS
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, quartiles, write
from benchmarks.speed.layer_cases import BATCH, CHANNELS, MODES, SIZE, caller, make, names, networks
from benchmarks.speed.ops_cases import peak_bytes, saved_bytes

RESULT = RESULTS / "layers-cpu.json"
BACKENDS = ("auto", "torch")


def rows(mode: str, chosen: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each layer and backend."""
    torch.manual_seed(0)
    calls = {
        (name, backend): caller(*make(attnzoo.layer_info(name)), mode, backend)
        for name in chosen
        for backend in (BACKENDS[-1:] if "/" in name else BACKENDS)
    }
    measured = quartiles({f"{name} {backend}": call for (name, backend), call in calls.items()}, rounds)
    for ((name, backend), call), (low, median, high) in zip(calls.items(), measured.values(), strict=True):
        info = attnzoo.layer_info(name)
        cost = attnzoo.cost(*_single(info))
        yield {
            "layer": name,
            "kind": info.kind,
            "networks": networks(info),
            "mode": mode,
            "backend": backend,
            "shape": [BATCH, CHANNELS, SIZE, SIZE],
            "parameters": cost.parameters,
            "macs": cost.macs,
            "activation_bytes": cost.activation_bytes,
            "median_us": round(median, 1),
            "quartiles_us": [round(low, 1), round(high, 1)],
            "peak_bytes": peak_bytes(call),
            "saved_bytes": saved_bytes(call) if mode == "training" else None,
        }


def _single(info: attnzoo.LayerInfo) -> tuple[Any, ...]:
    layer, inputs = make(info, batch=1)
    return layer, *inputs


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of layers; all by default")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    environments.restart_in("tuned", "benchmarks.speed.layers")
    torch.set_num_threads(arguments.threads)
    about = circumstances("benchmarks.speed.layers", arguments.threads)
    chosen = arguments.only or names()
    measured: list[dict[str, Any]] = []
    for mode in MODES:
        for row in rows(mode, chosen, arguments.rounds):
            measured.append(row)
            print(row["layer"], row["backend"], mode, row["median_us"], flush=True)
    write(arguments.output, about, measured)
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
