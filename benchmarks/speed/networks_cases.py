"""What is measured of the networks: each subject with candidates that compute the same, ours first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import DenselyBackwardAttention, RegionMask, ops
from reference_models import DBANet, LLANet

Calls = dict[str, Callable[[], object]]
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True)
class Subject:
    """Candidates that take turns; ``ours`` is the one that all others are compared with."""

    name: str
    mode: str
    shape: tuple[int, ...]
    calls: Calls


class Concatenated(nn.Module):
    """LLAM, the shortcut and the ReLU as one writes them down, with a concatenated F_cat."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, previous: Tensor, current: Tensor, *, shortcut: Tensor, relu: bool) -> Tensor:
        """Return what LLAM returns in a block of LLA-Net."""
        gated = current * self.conv(torch.cat([previous, current], dim=1)).sigmoid() + shortcut
        return F.relu(gated, inplace=True) if relu else gated


def subjects() -> Iterator[Subject]:
    """Yield everything that is measured."""
    for batch, mode in ((1, "forward"), (8, "forward"), (8, "training")):
        yield lla_net((batch, 3, 112, 112), mode)
    for size in (224, 100):
        yield dba_net((8, 3, size, size))
    for layout in LAYOUTS:
        for mode in ("forward", "training"):
            yield llam_gate((8, 64, 56, 56), layout, mode)
            yield regions((8, 256, 56, 56), layout, mode)


def lla_net(shape: tuple[int, int, int, int], mode: str) -> Subject:
    """Compare LLA-Net with itself with a concatenated F_cat, in either layout, and with its convolutions alone."""
    ours = LLANet().train(mode == "training")
    written_out = copy.deepcopy(ours)
    for module in list(written_out.modules()):
        if hasattr(module, "llam"):
            module.llam = Concatenated(module.llam.conv)
    calls: Calls = {}
    x = torch.randn(shape)
    networks = {"ours": (ours, x)}
    for layout, memory in LAYOUTS.items():
        network = copy.deepcopy(written_out).to(memory_format=memory)
        networks[f"F_cat concatenated, {layout}"] = (network, x.contiguous(memory_format=memory))
    for name, (network, images) in networks.items():
        forward = network if name == "ours" else partial(torchvision.models.ResNet.forward, network)
        calls[name] = partial(_run, forward, images, mode, network)
    if mode == "forward":
        calls["its convolutions alone, channels-last"] = _convolutions(*networks["F_cat concatenated, channels-last"])
    return Subject("LLA-Net", mode, shape, calls)


def dba_net(shape: tuple[int, int, int, int]) -> Subject:
    """Compare DBA's head, alone on its maps and with its backbone, with ResNet-101."""
    network, plain = DBANet("resnet101").eval(), DBANet("resnet101", strategy="baseline").eval()
    x = torch.randn(shape)
    with torch.no_grad():
        maps = network.backbone(x)
    head: DenselyBackwardAttention = network.attention
    calls: Calls = {
        "ours": partial(_run, lambda maps: network.fc(head(maps)), maps, "forward", network),
        "ResNet-101": partial(_run, plain, x, "forward", plain),
        "ResNet-101 with the head": partial(_run, network, x, "forward", network),
    }
    return Subject("DBA's head", "forward", shape, calls)


def llam_gate(shape: tuple[int, int, int, int], layout: str, mode: str) -> Subject:
    """Compare LLAM's gate, shortcut and ReLU by the kernel and by torch."""
    maps = [_map(shape, layout).requires_grad_(mode == "training") for _ in range(4)]

    def gate(backend: str) -> Tensor:
        x, a, b, shortcut = maps
        return ops.llam_gate(x, a, b, shortcut=shortcut, relu=True, backend=backend)

    return Subject(f"llam_gate, {layout}", mode, shape, _by_backend(gate, maps, mode))


def regions(shape: tuple[int, int, int, int], layout: str, mode: str) -> Subject:
    """Compare the three regions by the kernel, by torch, and by products with masks."""
    x = _map(shape, layout).requires_grad_(mode == "training")
    layer = RegionMask(shape[1])
    masks = list(layer.masks(x).values())

    def split(backend: str) -> list[Tensor]:
        with ops.backend(backend):
            return list(layer(x).values())

    calls = _by_backend(split, [x], mode)
    calls["by products"] = partial(_step, lambda: [x * mask for mask in masks], [x], mode)
    return Subject(f"split_rows, {layout}", mode, shape, calls)


def _map(shape: tuple[int, ...], layout: str) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=LAYOUTS[layout])


def _by_backend(operation: Callable[[str], Any], leaves: list[Tensor], mode: str) -> Calls:
    x = leaves[0].detach()
    target = torch.empty_like(x)
    return {
        "ours": partial(_step, partial(operation, "native"), leaves, mode),
        "torch": partial(_step, partial(operation, "torch"), leaves, mode),
        "a copy of the map": lambda: target.copy_(x),
    }


def _step(operation: Callable[[], Any], leaves: list[Tensor], mode: str) -> None:
    y = operation()
    if mode == "training":
        outputs = y if isinstance(y, list) else [y]
        torch.autograd.grad(outputs, leaves, [leaves[0].detach()] * len(outputs))


def _run(forward: Callable[[Any], Tensor], x: Any, mode: str, network: nn.Module) -> None:
    if mode == "forward":
        with torch.no_grad():
            forward(x)
    else:
        forward(x).square().sum().backward()
        network.zero_grad(set_to_none=True)


def _convolutions(network: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a call of all convolutions of a network on what each is given there."""
    given: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, args, _: given.append((module, args[0])))
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        torchvision.models.ResNet.forward(network, x)
    for hook in hooks:
        hook.remove()

    def call() -> None:
        with torch.no_grad():
            for module, tensor in given:
                module(tensor)

    return call
