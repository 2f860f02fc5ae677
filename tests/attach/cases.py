"""Small models of every layout, and what most tests do with them."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

import attnzoo

MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: timm.create_model("test_resnet", num_classes=5, zero_init_last=False),  # NCHW
    "torchvision": lambda: torchvision.models.resnet.ResNet(BasicBlock, [2, 1, 1, 1], num_classes=5),
    "test_convnext": lambda: timm.create_model("test_convnext", num_classes=5),  # NCHW, NHWC inside
    "test_vit": lambda: timm.create_model("test_vit", num_classes=5, img_size=64),  # tokens and a class token
    "mambaout": lambda: timm.create_model(  # NHWC
        "mambaout_femto", num_classes=5, dims=(32, 32, 48, 48), depths=(1, 1, 1, 1)
    ),
}


def model_of(name: str) -> nn.Module:
    """The model in evaluation mode, its zero tensors drawn anew: behind a zero branch no attention can be seen."""
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 64)


def set_blends(attachment: attnzoo.Attachment, value: float) -> None:
    with torch.no_grad():
        for name, parameter in attachment.named_parameters():
            if name.endswith(".blend"):
                parameter.fill_(value)


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything of a model that attach might touch: classes, children, attributes, tensors, hooks."""
    found: dict[str, object] = {}
    for name, module in model.named_modules():
        found[f"{name}:class"] = type(module)
        found[f"{name}:children"] = [(child, id(each)) for child, each in module._modules.items()]
        found[f"{name}:hooks"] = [len(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks")]
        found[f"{name}:attributes"] = sorted(vars(module))
        found[f"{name}:training"] = module.training
    for name, tensor in model.state_dict(keep_vars=True).items():
        total = float(tensor.detach().double().square().sum())
        found[f"{name}:tensor"] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor._version, total)
    return found
