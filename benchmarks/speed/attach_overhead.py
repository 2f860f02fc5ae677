"""What the attached frame itself costs for each site in eager mode, in microseconds.

Every candidate is a chain of blocks on one tiny tensor, so that Python is nearly all of the time:

- bare: the blocks alone;
- by hand: a module around each block that calls the block and then a layer, as one writes it in a model's source;
- attached: the same blocks with the same layer attached, ``init="paper"``;
- attached, blended: with ``init="identity"``.

The layer returns what it gets. The overhead of the frame is (attached - by hand) / blocks, and for the blend, which is
one more pass over the tensor, (blended - by hand) / blocks. In a plain shell's environment, see ``environments.py``.

    python -m benchmarks.speed.attach_overhead [--rounds 1000] [--output FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import attnzoo
from benchmarks import RESULTS
from benchmarks.speed import environments
from benchmarks.speed.interleaved import circumstances, write

MODULE = "benchmarks.speed.attach_overhead"
BLOCKS = 16
RESULT = RESULTS / "attach-overhead.json"


class Block(nn.Module):
    """A block whose own work is next to nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class Same(nn.Module):
    """A layer that returns what it gets."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x


class ByHand(nn.Module):
    """A block and a layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()
        self.layer = Same(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.block(x))


def chain(make: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(*(make() for _ in range(BLOCKS))).eval()


def attached(init: str) -> nn.Module:
    model = chain(Block)
    spot = attnzoo.Spot(layout="NCHW", channels=4, grid=(2, 2))
    sites = [attnzoo.Site(name=str(index), stage=None, spots=(spot,)) for index in range(BLOCKS)]
    attnzoo.attach(model, Same, sites, init=init)
    return model


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the times of each candidate in microseconds, taken in turns."""
    models = {
        "bare": chain(Block),
        "by hand": chain(ByHand),
        "attached": attached("paper"),
        "attached, blended": attached("identity"),
    }
    x = torch.zeros(1, 4, 2, 2)
    expected = models["bare"](x)
    if not all(torch.equal(model(x), expected) for model in models.values()):
        raise RuntimeError("the candidates do not compute the same: no figure")
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for index in range(rounds + 20):
            for name, model in models.items():
                start = time.perf_counter_ns()
                model(x)
                if index >= 20:
                    times[name].append((time.perf_counter_ns() - start) / 1e3)
    return times


def rows(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return the rows of the result: microseconds for a block, and what a site adds to the chain written by hand."""
    by_hand = statistics.median(times["by hand"])
    found = []
    for name, taken in times.items():
        first, middle, third = statistics.quantiles(taken, n=4)
        found.append(
            {
                "candidate": name,
                "us a block, median": round(middle / BLOCKS, 2),
                "us a block, IQR": round((third - first) / BLOCKS, 2),
                "us a site over by hand": round((middle - by_hand) / BLOCKS, 2),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="passes of each candidate")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the result is written")
    arguments = parser.parse_args()
    environments.restart_in("plain", MODULE)
    torch.set_num_threads(1)
    about = circumstances(MODULE, threads=1)
    found = rows(measure(arguments.rounds))
    for row in found:
        print(*row.values(), sep="\t")
    write(arguments.output, about, found)


if __name__ == "__main__":
    main()
