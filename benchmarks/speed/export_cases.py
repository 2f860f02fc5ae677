"""What is exported by the sweep: every layer, the four networks, and attention on families of timm's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import attnzoo
import reference_models

BATCHES = (1, 2, 5)
SEED = 20


@dataclass(frozen=True)
class Case:
    """A model and what it is called with.

    Attributes:
        group: ``layer``, ``network`` or ``attached``.
        name: Of the case.
        make: Returns the model for images of (height, width); the same one for every size where it takes them all.
        inputs: Returns arguments of the model for a batch and a size.
        sizes: Two sizes of images or maps.
    """

    group: str
    name: str
    make: Callable[[tuple[int, int]], nn.Module]
    inputs: Callable[[nn.Module, int, tuple[int, int]], tuple[Any, ...]]
    sizes: tuple[tuple[int, int], tuple[int, int]]


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    return {f"{case.group}/{case.name}": case for case in (*_layers(), *_networks(), *_attached())}


def _layers() -> Iterator[Case]:
    for name in attnzoo.list_layers():
        info = attnzoo.layer_info(name)
        channels: Any = [48, 96] if info.kind == "pyramid" else 48

        def make(_: tuple[int, int], name: str = name, channels: Any = channels, options: Any = info.example) -> Any:
            return attnzoo.create(name, channels, **options)

        yield Case("layer", name, make, partial(_maps, info.kind), ((28, 28), (14, 20)))


def _maps(kind: str, layer: Any, batch: int, size: tuple[int, int]) -> tuple[Any, ...]:
    x = torch.randn(batch, 48, *size)
    if kind == "pyramid":
        return ([x, torch.randn(batch, 96, size[0] // 2, size[1] // 2)],)
    if kind == "paired":
        return torch.randn_like(x), x
    return (x, _binary(batch, layer.num_maps, size)) if kind == "guided" else (x,)


def _networks() -> Iterator[Case]:
    def of(name: str, **options: Any) -> Callable[[Any], nn.Module]:
        return lambda _: reference_models.create(name, **options)

    def square(name: str) -> Callable[[tuple[int, int]], nn.Module]:
        return lambda size: reference_models.create(name, image_size=size[0])

    yield Case("network", "cednn", square("cednn"), _guided, ((224, 224), (192, 192)))
    yield Case("network", "dba_net", of("dba_net"), _images, ((100, 100), (128, 96)))
    yield Case("network", "lla_net", of("lla_net"), _images, ((112, 112), (96, 128)))
    yield Case("network", "tra_net", square("tra_net"), _images, ((224, 224), (192, 192)))


ATTACHED = (  # timm model, layer, where, options for timm that depend on the size
    ("resnet18", "cbam", "stage", ()),
    ("efficientnet_lite0", "timm/eca", "block", ()),
    ("mobilenetv3_small_100", "se", "stage", ()),
    ("convnext_atto", "cbam", "stage", ()),
    ("regnetx_002", "igc", "stage", ()),
    ("vit_tiny_patch16_224", "cbam", "block", ("img_size",)),
    ("swin_tiny_patch4_window7_224", "se", "stage", ("img_size",)),
)


def _attached() -> Iterator[Case]:
    import timm

    for name, layer, where, sized in ATTACHED:

        def make(
            size: tuple[int, int], name: str = name, layer: str = layer, where: str = where, sized: Any = sized
        ) -> Any:
            model = timm.create_model(name, **dict.fromkeys(sized, size))
            options = {"groups": 8} if layer == "igc" else {}
            attnzoo.attach(model, layer, where, init="paper", example_inputs=torch.rand(2, 3, *size), **options)
            return model

        yield Case("attached", f"{name} + {layer}", make, _images, ((224, 224), (192, 256)))


def _images(_: nn.Module, batch: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 3, *size),)


def _guided(_: nn.Module, batch: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    return torch.rand(batch, 3, *size), _binary(batch, 5, size)


def _binary(batch: int, maps: int, size: tuple[int, int]) -> Tensor:
    return (torch.rand(batch, maps, *size) > 0.5).float()


@torch.no_grad()
def settled(model: nn.Module, arguments: tuple[Any, ...]) -> nn.Module:
    """Return the model in evaluation, as after some training: zeros moved away, statistics those of its own maps.

    With zeros (blends, last normalisations) something would be hidden, with other statistics a deep network explodes.
    """
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()  # frozen blocks too
            module.reset_running_stats()
            module.momentum = None  # the mean of all batches
    model(*arguments)
    return model.eval()
