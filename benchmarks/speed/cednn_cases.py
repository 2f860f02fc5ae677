"""CEDNN beside torchvision's ResNet-18 and beside its own export, timed in one process.

    python -m benchmarks.speed.cednn_cases MODE BATCH ROUNDS THREADS

``measure_cednn`` starts it, in the environment that is to be measured, and reads the JSON that it prints. Every variant
is compared with its own modules in float64 first; an error above 2e-6 of the largest logit stops it. So does one above
1e-4 of the exported network.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import attnzoo
from attnzoo import ops
from benchmarks.speed import environments, runtimes
from benchmarks.speed.interleaved import quartiles
from reference_models import CEDNN
from reference_models.networks.cednn import VARIANTS

SIZE = 224
BACKENDS = [name for name in ("native", "torch") if ops.backends()[name].available]
TRAINED = ("res-L18M1", "res-L6M3", "dense-L2M9")
GUIDED = {"res-L18M1, maps in 3 blocks": (3, None), "res-L18M1, first SE": (0, "first")}
EXPORTED = "res-L18M1"
Calls = dict[tuple[str, str], Callable[[], object]]


def _seen(function: Callable[..., Tensor], *inputs: Tensor, backend: str = "torch") -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.inference_mode(), ops.backend(backend):
            return function(*inputs)

    return call


def inference(batch: int, threads: int, folder: Path) -> Calls:
    """Return the candidates; what is ours has been compared with float64, what was exported is in the folder."""
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
        if name == EXPORTED:
            calls |= {(name, runtime): call for runtime, call in exported(ours, faces, threads, folder).items()}
    return calls


def exported(network: nn.Module, faces: Tensor, threads: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the network as runtimes run its file, in float32 and in what OpenVINO takes by itself if that differs.

    The batch is free in the file, as ``export_onnx`` writes it by default; OpenVINO is faster where it is fixed.
    """
    free, fixed = folder / "free.onnx", folder / "fixed.onnx"
    attnzoo.export_onnx(network, (faces[:1].repeat(2, 1, 1, 1),), free, check=False)
    attnzoo.export_onnx(network, (faces,), fixed, dynamic=(), check=False)
    found: dict[str, Callable[[], Any]] = {"ONNX Runtime": runtimes.by_onnxruntime(free, faces, threads)}
    for precision in dict.fromkeys(("f32", runtimes.openvino_default())):
        found[f"OpenVINO {precision}"] = runtimes.by_openvino(free, faces, threads, precision)
        found[f"OpenVINO {precision}, fixed batch"] = runtimes.by_openvino(fixed, faces, threads, precision)
    expected = _seen(network, faces)()
    for name, call in found.items():
        runtimes.check(f"{EXPORTED} by {name}", call(), expected, 0.2 if "bf16" in name else 1e-4)
    return found


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


def figures(calls: Calls, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each candidate."""
    measured = quartiles({f"{name}|{provider}": call for (name, provider), call in calls.items()}, rounds)
    eager = measured["ResNet-18|eager"][1]
    compiled = measured.get("ResNet-18|compiled, channels-last", (0.0,) * 3)[1]
    for (name, provider), (low, median, high) in zip(calls, measured.values(), strict=True):
        yield {
            "network": name,
            "provider": provider,
            "median_ms": round(median / 1e3, 2),
            "quartiles_ms": [round(low / 1e3, 2), round(high / 1e3, 2)],
            "eager": round(eager / median, 2),
            "compiled": round(compiled / median, 2) if compiled else None,
        }


def main() -> None:
    """Check, time one case and print it."""
    mode, batch, rounds, threads = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch._inductor.config.freezing = True  # noqa: SLF001 - there is no public switch
    with tempfile.TemporaryDirectory() as folder:
        calls = training(batch) if mode == "training" else inference(batch, threads, Path(folder))
        found = list(figures(calls, rounds))
    json.dump({"variables": environments.variables(), "rows": found}, sys.stdout)


if __name__ == "__main__":
    main()
