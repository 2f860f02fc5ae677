"""ResNet-50 at 224 x 224, bare and with attention, and what is run of it.

All networks have the same weights but for the attention, and the attentions the same places: behind the last norm of
each residual branch. Ours are attached as ``attach`` does it by default, and with ``init="paper"``; timm's stand in
timm's own slot. The blends, which start at 0, are set to what training may have made of them, so that nothing is
gained by the identity being special; so are the last norms' weights, which timm sets to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

import attnzoo

SIZE = 224
BLEND = 0.5
LAYERS = ("cbam", "se")
NETWORKS = ("bare", *(f"{name} {layer}" for layer in LAYERS for name in ("attnzoo", "attnzoo paper", "timm")))
"""The names of the networks: ``attnzoo cbam`` is attached by default, ``attnzoo paper cbam`` with ``init="paper"``."""
RIVALS = {f"{name} {layer}": f"timm {layer}" for layer in LAYERS for name in ("attnzoo", "attnzoo paper")}
"""For each network with a layer of ours, the one with timm's."""


def make(name: str) -> nn.Module:
    """Return the network of that name, one of :data:`NETWORKS`."""
    if name == "bare":
        return _resnet()
    who, layer = name.rsplit(" ", 1)
    if who == "timm":
        return _resnet(block_args={"attn_layer": layer})
    network = _resnet()
    attachment = attnzoo.attach(network, layer, where="branch", init="paper" if who == "attnzoo paper" else "identity")
    for key, parameter in attachment.named_parameters():
        if key.endswith("blend"):
            nn.init.constant_(parameter, BLEND)
    return network


def _resnet(**kwargs: Any) -> nn.Module:
    """Return ResNet-50 with timm's further arguments, all that the bare one has as the bare one has it."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model("resnet50", zero_init_last=False, **kwargs)
    if kwargs:
        network.load_state_dict(_resnet().state_dict(), strict=False)
    return network


def images(batch: int) -> Tensor:
    """Return the same random images at every call."""
    return torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def step(network: nn.Module, mode: str, batch: int) -> Callable[[], None]:
    """Return a function that runs a network once: inference, or a training step's forward and backward pass."""
    network.train(mode == "training")
    x = images(batch)

    def infer() -> None:
        with torch.no_grad():
            network(x)

    def train() -> None:
        network.zero_grad()
        network(x).square().mean().backward()

    return train if mode == "training" else infer
