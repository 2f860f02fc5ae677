"""Measure CBAM and SE by every implementation, interleaved, and write results/ops-cpu.json.

    python -m benchmarks.measure_ops [--rounds 40] [--threads 2] [--quick] [--output FILE]

The tests of the operations run first. Within a round each candidate runs once on the same map, the copy of the map
with them; the order turns from round to round. Times are medians with their quartiles, in microseconds; ``copies`` is
a median over that of the copy. At the end the geometric means over all shapes and layouts are printed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.interleaved import circumstances, in_calm_environment, quartiles, write
from benchmarks.ops_cases import DTYPES, LAYERS, LAYOUTS, MODES, PROVIDERS, SHAPES, Case, runner, saved_bytes

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "ops-cpu.json"
FLOOR = {("cbam", "forward"): 2.0, ("cbam", "training"): 5.5, ("se", "forward"): 1.5, ("se", "training"): 3.5}
"""Copies of the map that no implementation can do without, pass by pass."""


def rows(case: Case, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each provider of the case, and one for the copy."""
    torch.manual_seed(0)
    torch.compiler.reset()
    x, gradient = case.map(), case.map()
    target = torch.empty_like(x)
    calls: dict[str, Callable[[], object]] = {"copy": lambda: target.copy_(x)}
    for provider in PROVIDERS:
        call = runner(case, provider, x, gradient)
        if call is not None:
            calls[provider] = call
    measured = quartiles(calls, rounds)
    size = x.numel() * x.element_size()
    for provider, (low, median, high) in measured.items():
        training = case.mode == "training" and provider != "copy"
        yield {
            "layer": case.layer,
            "mode": case.mode,
            "dtype": case.dtype,
            "layout": case.layout,
            "shape": list(case.shape),
            "provider": provider,
            "median_us": round(median, 1),
            "quartiles_us": [round(low, 1), round(high, 1)],
            "copies": round(median / measured["copy"][1], 2),
            "saved_maps": round(saved_bytes(calls[provider]) / size, 2) if training else None,
        }


def geometric_means(table: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each layer, mode and dtype: how many times faster than each other candidate, and the floor."""
    for layer in LAYERS:
        for mode in MODES:
            for dtype in DTYPES:
                chosen = [r for r in table if (r["layer"], r["mode"], r["dtype"]) == (layer, mode, dtype)]
                key = lambda r: (tuple(r["shape"]), r["layout"])  # noqa: E731
                ours = {key(r): r for r in chosen if r["provider"] == "attnzoo native"}
                if not ours:
                    continue
                parts = []
                for provider in PROVIDERS:
                    ratios = [r["median_us"] / ours[key(r)]["median_us"] for r in chosen if r["provider"] == provider]
                    if ratios and provider != "attnzoo native":
                        parts.append(f"{provider} x{math.exp(statistics.fmean(map(math.log, ratios))):.2f}")
                wide = [r["copies"] / FLOOR[layer, mode] for k, r in ours.items() if k[0] == (8, 256, 56, 56)]
                floor = ", ".join(f"{value:.2f}" for value in wide)
                yield f"{layer:5} {mode:9} {dtype}: {', '.join(parts)}; over the floor at 256x56x56: {floor}"


def main() -> None:
    """Run the tests, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="nothing compiled, one shape")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    in_calm_environment("benchmarks.measure_ops")
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", "tests/ops"], cwd=ROOT, check=True)
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        for name in [name for name in PROVIDERS if name.endswith("compiled")]:
            del PROVIDERS[name]
    shapes = SHAPES[1:2] if arguments.quick else SHAPES
    about = circumstances("benchmarks.measure_ops", arguments.threads)
    table: list[dict[str, Any]] = []
    for layer in LAYERS:
        for shape in shapes:
            for dtype in DTYPES:
                for layout in LAYOUTS:
                    for mode in MODES:
                        table += rows(Case(layer, shape, dtype, layout, mode), arguments.rounds)
                        print(json.dumps(table[-1]["shape"]), layer, dtype, layout, mode, flush=True)
    write(arguments.output, about, table)
    print("\n".join(geometric_means(table)))


if __name__ == "__main__":
    main()
