"""Measure where CEDNN's time goes, on the CPU, and write results/cednn-parts-cpu.json.

    python -m benchmarks.speed.cednn_parts [--rounds 15] [--threads 2] [--output FILE]

Inference of one 224 x 224 image by the native kernels, part by part: ``warm``, called again and again, so that caches
and threads are ready; ``cold``, after so much other memory was written that the caches forget, which is how a network
among others finds its weights. ``read`` is how long torch takes to add up the part's weights, cold: no faster can they
be read. Medians, in milliseconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo import ops
from benchmarks import RESULTS
from benchmarks.speed.interleaved import measured
from reference_models import CEDNN
from reference_models.networks import cednn_blocks, cednn_top

RESULT = RESULTS / "cednn-parts-cpu.json"
FORGOTTEN = 1 << 25  # floats, 128 MB


def median(call: Callable[[], object], rounds: int, before: Callable[[], object] = lambda: None) -> float:
    """Return the median time of ``call`` in milliseconds, ``before`` not counted."""
    times = []
    for _ in range(rounds + 2):
        before()
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return round(statistics.median(times[2:]), 3)


def inference(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each part of ``CEDNN.forward`` and one for the whole."""
    network, face = CEDNN(attention_blocks=0).eval(), torch.rand(1, 3, 224, 224)
    other = torch.zeros(FORGOTTEN)
    rows = []
    with torch.inference_mode(), ops.backend("native"):
        features = cednn_blocks.fused(network.links(), face, None)
        layers = (network.reduce, network.top1, network.top2, network.fc)
        parts: dict[str, tuple[Callable[[], Tensor], Sequence[nn.Module]]] = {
            "blocks": (lambda: cednn_blocks.fused(network.links(), face, None), [network.blocks]),
            "top": (lambda: cednn_top.logits(*layers, features), layers),
            "whole network": (lambda: network(face), [network]),
        }
        for name, (call, modules) in parts.items():
            weights = torch.cat([p.flatten() for module in modules for p in module.parameters()])
            forget = lambda: other.add_(1)  # noqa: E731
            rows.append(
                {
                    "part": name,
                    "warm": median(call, rounds),
                    "cold": median(call, rounds, forget),
                    "read": median(weights.sum, rounds, forget),
                    "weights_mb": round(weights.numel() * 4 / 1e6, 2),
                }
            )
    return rows


if __name__ == "__main__":
    measured("benchmarks.speed.cednn_parts", __doc__, RESULT, inference)
