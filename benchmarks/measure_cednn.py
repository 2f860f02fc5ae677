"""Measure CEDNN against torchvision's ResNet-18, interleaved, and write results/cednn-cpu.json.

    python -m benchmarks.measure_cednn [--rounds 9] [--threads 2] [--output FILE]

First every variant is compared with its own modules in float64; an error above 2e-6 of the largest logit stops it.
Within a round each candidate runs once on the same 224 x 224 images; the order turns from round to round. Times are
medians with their quartiles, in milliseconds. ``eager`` and ``compiled`` say how many times faster than ResNet-18 in
eager mode, and than ResNet-18 in channels-last, compiled and frozen.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import ops
from benchmarks.interleaved import circumstances, in_calm_environment, quartiles, write
from reference_models import CEDNN
from reference_models.cednn import VARIANTS

SIZE = 224
RESULT = Path(__file__).with_name("results") / "cednn-cpu.json"
BACKENDS = [name for name in ("native", "torch") if ops.backends()[name].available]
TRAINED = ("res-L18M1", "res-L6M3", "dense-L2M9")
GUIDED = {"res-L18M1, maps in 3 blocks": (3, None), "res-L18M1, first SE": (0, "first")}
Calls = dict[tuple[str, str], Callable[[], object]]


def _seen(function: Callable[..., Tensor], *inputs: Tensor, backend: str = "torch") -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.inference_mode(), ops.backend(backend):
            return function(*inputs)

    return call


def inference(batch: int) -> Calls:
    """Return the candidates; what is ours has been compared with float64."""
    faces, maps = torch.rand(batch, 3, SIZE, SIZE), (torch.rand(batch, 5, SIZE, SIZE) > 0.8).float()
    network = torchvision.models.resnet18().eval()
    last, faces_last = (t.to(memory_format=torch.channels_last) for t in (copy.deepcopy(network), faces))
    compiled = torch.compile(copy.deepcopy(last), dynamic=False)
    calls: Calls = {
        ("ResNet-18", "eager"): _seen(network, faces),
        ("ResNet-18", "eager, channels-last"): _seen(last, faces_last),
        ("ResNet-18", "compiled, channels-last"): _seen(compiled, faces_last),
    }
    options = {name: (name, 0, None) for name in VARIANTS} | {name: ("res-L18M1", *o) for name, o in GUIDED.items()}
    for name, (variant, blocks, se) in options.items():
        ours = CEDNN(variant, attention_blocks=blocks, se=se).eval()
        inputs = (faces, maps) if blocks else (faces,)
        exact = copy.deepcopy(ours).double()(*(t[:1].double() for t in inputs)).detach()
        for backend in BACKENDS:
            error = (_seen(ours, *(t[:1] for t in inputs), backend=backend)() - exact).abs().max() / exact.abs().max()
            if not error < 2e-6:
                raise RuntimeError(f"{name} by {backend} is wrong by {error:.1e}")
            calls[name, backend] = _seen(ours, *inputs, backend=backend)
    return calls


def training(batch: int) -> Calls:
    """Return the candidates for a step without the optimiser."""
    faces, labels = torch.rand(batch, 3, SIZE, SIZE), (torch.rand(batch, 12) > 0.5).float()

    def step(network: nn.Module, images: Tensor, backend: str = "torch") -> Callable[[], object]:
        own = "auto" if backend == "native" else backend  # the top's kernels have no gradients

        def call() -> None:
            network.zero_grad()
            with ops.backend(own):
                F.binary_cross_entropy_with_logits(network(images), labels).backward()

        return call

    network = torchvision.models.resnet18(num_classes=12)
    last, faces_last = (t.to(memory_format=torch.channels_last) for t in (copy.deepcopy(network), faces))
    own = {(name, p): step(CEDNN(name, attention_blocks=0), faces, p) for name in TRAINED for p in BACKENDS}
    resnets = {
        ("ResNet-18", "eager"): step(network, faces),
        ("ResNet-18", "eager, channels-last"): step(last, faces_last),
    }
    return {**resnets, **own}


def rows(mode: str, batch: int, calls: Calls, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each candidate."""
    measured = quartiles({f"{name}|{provider}": call for (name, provider), call in calls.items()}, rounds)
    eager = measured["ResNet-18|eager"][1]
    compiled = measured.get("ResNet-18|compiled, channels-last", (0.0,) * 3)[1]
    for (name, provider), (low, median, high) in zip(calls, measured.values(), strict=True):
        yield {
            "mode": mode,
            "batch": batch,
            "network": name,
            "provider": provider,
            "median_ms": round(median / 1e3, 2),
            "quartiles_ms": [round(low / 1e3, 2), round(high / 1e3, 2)],
            "eager": round(eager / median, 2),
            "compiled": round(compiled / median, 2) if compiled else None,
        }


def main() -> None:
    """Check, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    in_calm_environment("benchmarks.measure_cednn")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    torch._inductor.config.freezing = True  # noqa: SLF001 - there is no public switch
    about = circumstances("benchmarks.measure_cednn", arguments.threads)
    table: list[dict[str, Any]] = []
    for mode, batch, make in (("inference", 1, inference), ("inference", 8, inference), ("training", 8, training)):
        for row in rows(mode, batch, make(batch), arguments.rounds):
            table.append(row)
            print(*row.values(), flush=True)
    write(arguments.output, about, table)


if __name__ == "__main__":
    main()
