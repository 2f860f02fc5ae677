"""What the table's columns are: every registered layer, two models with attention attached, and the four networks.

The networks are narrow ones on small pictures: what they can do does not depend on their width. What takes any size is
given oblong maps: from a square one torch.compile concludes that height and width are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import timm
import torch
from torch import nn

import attnzoo
import reference_models
from tests.layers import cases

Size = tuple[int, int]


@dataclass(frozen=True)
class Subject:
    """One column.

    Attributes:
        name: What it is called.
        group: What it is.
        make: Returns the module in evaluation, with random parameters and statistics, on a device.
        inputs: Returns arguments of ``forward`` for a module, a batch size, height and width.
        size: Height and width that it is tried with.
        other: Another size, or None if it takes one size only.
        odd: Sizes that are neither even nor a multiple of anything.
        exceptions: Capabilities that it has not, each with the reason.
    """

    name: str
    group: Literal["layer", "attached", "network"]
    make: Callable[[str], nn.Module]
    inputs: Callable[[nn.Module, int, Size], tuple[Any, ...]]
    size: Size
    other: Size | None
    odd: tuple[Size, ...]
    exceptions: Mapping[str, str] = field(default_factory=dict)


def subjects() -> dict[str, Subject]:
    """Return all columns by name."""
    found = [*map(_layer, attnzoo.list_layers()), *_attached(), *_networks()]
    return {subject.name: subject for subject in found}


def _layer(name: str) -> Subject:
    info = attnzoo.layer_info(name)
    return Subject(
        name=name,
        group="layer",
        make=lambda device: cases.make(info, 12, device=device),
        inputs=lambda module, batch, size: cases.inputs(info, module, batch, size, device=_device(module)),
        size=(8, 6),
        other=(12, 10),
        odd=((1, 1), (7, 5), (1, 9), (13, 11)),
        exceptions=info.exceptions,
    )


def _attached() -> list[Subject]:
    def resnet(device: str) -> nn.Module:
        return _with_attention(timm.create_model("test_resnet", num_classes=5, zero_init_last=False), "cbam", device)

    def vit(device: str) -> nn.Module:
        return _with_attention(timm.create_model("test_vit", num_classes=5, img_size=64), "se", device)

    odd = ((65, 47), (33, 71))
    vits_own = {
        "odd sizes": "timm's ViT has position embeddings for one image size",
        "B = 0": "timm's ViT reshapes its patches with an open dimension, which an empty batch leaves undecided",
    }
    return [
        Subject("ResNet + cbam", "attached", resnet, _images, (64, 96), (96, 80), odd),
        Subject("ViT + se", "attached", vit, _images, (64, 64), None, odd, vits_own),
    ]


def _networks() -> list[Subject]:
    def network(name: str, **options: Any) -> Callable[[str], nn.Module]:
        return lambda device: _settled(reference_models.create(name, **options, device=device))

    small = {"image_size": 32}
    odd = ((65, 47), (33, 71))
    fixed = {"odd sizes": "the paper's classifier is a linear layer over maps of one size; image_size chooses it"}
    whole = {
        "FSDP2": "it keeps its weights channels-last, which fully_shard does not take; "
        ".to(memory_format=torch.contiguous_format) first"
    }
    cednn = network("cednn", variant="res-L3M6", top_width=16, attention_blocks=2, **small)
    return [
        Subject("TRA-Net", "network", network("tra_net", width=16, **small), _images, (32, 32), None, odd, fixed),
        Subject("LLA-Net", "network", network("lla_net", width=8), _images, (32, 48), (40, 56), odd, whole),
        Subject("CEDNN", "network", cednn, _faces_with_maps, (32, 32), None, odd, fixed),
        Subject("DBA-Net", "network", network("dba_net", backbone="test_resnet"), _images, (64, 96), (96, 80), odd),
    ]


def _with_attention(model: nn.Module, layer: str, device: str) -> nn.Module:
    """Attach first, where the model can be probed; half blended, so that it acts."""
    attachment = attnzoo.attach(model.eval(), layer, "block", example_inputs=torch.randn(2, 3, 64, 64))
    with torch.no_grad():
        for name, parameter in attachment.named_parameters():
            if name.endswith(".blend"):
                parameter.fill_(0.5)
    return _settled(model).to(device)


def _settled(model: nn.Module) -> nn.Module:
    """Give normalisations statistics as after some training; weights stay as drawn, or a deep model would explode."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(torch.randn_like(buffer) * 0.1)
        elif name.endswith("running_var"):
            buffer.mul_(torch.rand_like(buffer) + 0.5)
    return model.eval()


def _images(module: nn.Module, batch: int, size: Size) -> tuple[Any, ...]:
    return (torch.randn(batch, 3, *size).to(_device(module)),)


def _faces_with_maps(module: nn.Module, batch: int, size: Size) -> tuple[Any, ...]:
    maps = (torch.randn(batch, 5, *size) > 0).float()
    return (*_images(module, batch, size), maps.to(_device(module)))


def _device(module: nn.Module) -> str:
    return next((parameter.device.type for parameter in module.parameters()), "cpu")
