"""The frame around an attached layer: cheap in eager mode, nothing in a graph."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

import attnzoo

BLOCKS = 16


class Block(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class Double(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.layer = Block(), Double(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.block(x))


def both() -> tuple[nn.Module, nn.Module]:
    """A chain with the layer written into it, and one with it attached."""
    attached = nn.Sequential(*(Block() for _ in range(BLOCKS)))
    spot = attnzoo.Spot(layout="NCHW", channels=4, grid=(2, 2))
    sites = [attnzoo.Site(name=str(index), stage=None, spots=(spot,)) for index in range(BLOCKS)]
    attnzoo.attach(attached, Double, sites, init="paper")
    return nn.Sequential(*(ByHand() for _ in range(BLOCKS))), attached


def fastest(model: nn.Module, x: Tensor) -> float:
    """The fastest of many passes, in microseconds a block: what others do on the machine only ever adds."""
    times = []
    for _ in range(300):
        start = time.perf_counter_ns()
        model(x)
        times.append(time.perf_counter_ns() - start)
    return min(times) / 1e3 / BLOCKS


def test_less_than_twenty_microseconds_a_site() -> None:
    by_hand, attached = both()
    x = torch.zeros(1, 4, 2, 2)
    assert torch.equal(by_hand(x), attached(x))
    with torch.inference_mode():
        assert fastest(attached, x) - fastest(by_hand, x) < 20


def test_nothing_in_a_graph() -> None:
    x = torch.zeros(1, 4, 2, 2)
    by_hand, attached = (
        [str(node.target) for node in torch.export.export(model, (x,)).graph.nodes if node.op == "call_function"]
        for model in both()
    )
    assert attached == by_hand
    assert len(by_hand) == 2 * BLOCKS
