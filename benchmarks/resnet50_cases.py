"""ResNet-50 at 224 x 224, bare and with attention, timed in one process.

    python -m benchmarks.resnet50_cases MODE BATCH ROUNDS THREADS

``measure_resnet50`` starts it, in the environment that is to be measured, and reads the JSON that it prints.

All networks have the same weights but for the attention, and the attentions the same places: behind the last norm of
each residual branch. Ours are attached as ``attach`` does it by default, and with ``init="paper"``; timm's stand in
timm's own slot. The blends, which start at 0, are set to what training may have made of them, so that nothing is
gained by the identity being special; so are the last norms' weights, which timm sets to 0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import nn

import attnzoo
from benchmarks import environments
from benchmarks.added_time import summary, timed

SIZE = 224
BLEND = 0.5
LAYERS = ("cbam", "se")
RIVALS = {f"attnzoo {layer}{paper}": f"timm {layer}" for layer in LAYERS for paper in ("", " paper")}
"""For each network with a layer of ours, the one with timm's."""


def networks() -> dict[str, nn.Module]:
    """Return the candidates by name: ``bare``, and for each layer ``attnzoo``, ``attnzoo paper`` and ``timm``."""
    first = bare()
    found = {"bare": first}
    for layer in LAYERS:
        for name, init in ((f"attnzoo {layer}", "identity"), (f"attnzoo {layer} paper", "paper")):
            found[name] = attached(layer, init, first)
        found[f"timm {layer}"] = slotted(layer, first)
    return found


def attached(layer: str, init: str, first: nn.Module) -> nn.Module:
    """Return the bare network ``first`` with a layer of ours attached to each residual branch."""
    network = _like(first)
    attachment = attnzoo.attach(network, layer, where="branch", init=init)
    for name, parameter in attachment.named_parameters():
        if name.endswith("blend"):
            nn.init.constant_(parameter, BLEND)
    return network


def slotted(layer: str, first: nn.Module) -> nn.Module:
    """Return the bare network ``first`` with timm's layer in timm's slot, which is at the same places."""
    return _like(first, block_args={"attn_layer": layer})


def bare(**kwargs: Any) -> nn.Module:
    """Return ResNet-50, with timm's further arguments if any."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model("resnet50", zero_init_last=False, **kwargs)
    return network


def _like(first: nn.Module, **kwargs: Any) -> nn.Module:
    network = bare(**kwargs)
    network.load_state_dict(first.state_dict(), strict=False)
    return network


def step(network: nn.Module, mode: str, images: torch.Tensor) -> Callable[[], None]:
    """Return a function that runs a network once: inference, or a training step's forward and backward pass."""
    network.train(mode == "training")

    def infer() -> None:
        with torch.no_grad():
            network(images)

    def train() -> None:
        network.zero_grad()
        network(images).square().mean().backward()

    return train if mode == "training" else infer


def main() -> None:
    """Time one case and print it."""
    mode, batch, rounds, threads = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    images = torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    calls = {name: step(network, mode, images) for name, network in networks().items()}
    found = summary(timed(calls, rounds), RIVALS)
    json.dump({"variables": environments.variables(), "networks": found}, sys.stdout)


if __name__ == "__main__":
    main()
