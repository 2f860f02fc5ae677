"""What CBAM adds to ResNet-50 at 224 x 224: attached by attnzoo, and in timm's own slot, beside the bare network.

    python -m benchmarks.measure_resnet50 [--rounds 15] [--threads 2] [--mode MODE] [--output FILE]

The three networks have the same weights but for the attention, and run interleaved on the same images: inference on
eight, a training step's forward and backward pass on four. ``added`` is a network's median over that of the bare one,
less one; what attnzoo adds is held to a third of what timm adds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

import attnzoo
from benchmarks.interleaved import circumstances, in_calm_environment, write

RESULT = Path(__file__).parent / "results" / "resnet50-cbam.json"
MODES = {"inference": 8, "training": 4}
HELD_TO = 1 / 3


def networks() -> dict[str, nn.Module]:
    """Return the candidates by name."""
    bare = timm.create_model("resnet50")
    slot = timm.create_model("resnet50", block_args={"attn_layer": "cbam"})
    attached = timm.create_model("resnet50")
    for other in (slot, attached):
        other.load_state_dict(bare.state_dict(), strict=False)
    attnzoo.attach(attached, "cbam", where="branch", init="paper")
    return {"bare": bare, "attnzoo attached": attached, "timm": slot}


def step(network: nn.Module, mode: str, images: torch.Tensor) -> Callable[[], None]:
    """Return a function that runs the network once."""
    network.train(mode == "training")

    def infer() -> None:
        with torch.no_grad():
            network(images)

    def train() -> None:
        network.zero_grad()
        network(images).square().mean().backward()

    return train if network.training else infer


def rows(mode: str, rounds: int, tick: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Yield a row for each network in one mode."""
    torch.manual_seed(0)
    images = torch.randn(MODES[mode], 3, 224, 224)
    calls = {name: step(network, mode, images) for name, network in networks().items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in list(calls)[turn % 3 :] + list(calls)[: turn % 3]:
            start = time.perf_counter()
            calls[name]()
            if turn:  # the first round warms up
                times[name].append((time.perf_counter() - start) * 1e3)
        tick()
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        # a round's own ratio: what slows the machine down slows all three
        added = statistics.median(own / bare for own, bare in zip(values, times["bare"], strict=True)) - 1
        yield {
            "mode": mode,
            "batch": MODES[mode],
            "network": name,
            "median_ms": round(median, 1),
            "quartiles_ms": [round(low, 1), round(high, 1)],
            "added": round(added, 4),
        }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", choices=MODES, help="one of the two only")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    in_calm_environment("benchmarks.measure_resnet50")
    torch.set_num_threads(arguments.threads)
    modes = [arguments.mode] if arguments.mode else list(MODES)
    about, measured = circumstances("benchmarks.measure_resnet50", arguments.threads), []
    console = Console()
    with Progress(console=console) as progress:
        for mode in modes:
            task = progress.add_task(mode, total=arguments.rounds + 1)
            measured += rows(mode, arguments.rounds, lambda task=task: progress.advance(task))
            write(arguments.output, about, measured)
    for mode in modes:
        added = {row["network"]: row["added"] for row in measured if row["mode"] == mode}
        ours, theirs = added["attnzoo attached"], added["timm"]
        held = "held" if ours <= HELD_TO * theirs else "[bold red]NOT held"
        console.print(f"{mode}: attnzoo adds {ours:.1%}, timm {theirs:.1%}: {ours / theirs:.2f}, at most 0.33: {held}")
    console.print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
