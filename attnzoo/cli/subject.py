"""Build the model of a command: a timm or torchvision model by name, with attentions and weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo.attach import attach
from attnzoo.cli.timm_models import timm_model
from attnzoo.registry import layer_info

_TORCHVISION = "torchvision/"
_IMAGENET = {"input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Subject:
    """A model with an example input and metadata.

    Attributes:
        model: The model, in evaluation mode.
        example: One image (1, C, H, W) of noise.
        metadata: ``model``, the name with its attentions; ``input_size``; ``mean`` and ``std`` of pixel values in 0 to
            1; ``labels`` if known.
    """

    model: nn.Module
    example: Tensor
    metadata: Mapping[str, Any]


def subject(
    name: str,
    layers: Sequence[str],
    *,
    where: str,
    init: str,
    attachments: Sequence[Path],
    weights: Path | None,
    image_size: int | None,
    num_classes: int | None,
    pretrained: bool,
) -> Subject:
    """Return a timm model, or for ``torchvision/NAME`` one of torchvision, with attentions attached.

    Raises:
        ImportError: If a package is missing.
        OSError: If a file cannot be read.
        ValueError: If a name is unknown, or a file or layer does not fit.
    """
    if attachments and len(attachments) != len(layers):
        raise ValueError(
            f"--attachment must be given once for each of the {len(layers)} layers, got {len(attachments)}"
        )
    model, config = _built(name, num_classes, pretrained)
    channels, height, width = config["input_size"]
    if image_size is not None:
        height = width = image_size
    example = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    for index, layer in enumerate(layers):
        if layer_info(layer).kind == "guided":
            raise ValueError(f"{layer} is guided by maps, which a command cannot be given: use Python")
        attachment = attach(model, layer, where, init=init, example_inputs=example)  # type: ignore[arg-type]
        if attachments:
            attachment.load(attachments[index])
    if weights is not None:
        _load(model, weights)
    metadata = {
        "model": " + ".join((name, *layers)),
        "input_size": [channels, height, width],
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        **({"labels": list(config["label_names"])} if config.get("label_names") else {}),
    }
    return Subject(model.eval(), example, metadata)


def _built(name: str, num_classes: int | None, pretrained: bool) -> tuple[nn.Module, Mapping[str, Any]]:
    torch.manual_seed(0)
    if not name.startswith(_TORCHVISION):
        model: nn.Module = timm_model(name, num_classes, pretrained=pretrained)
        config: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        return model, config
    import torchvision

    bare, known = name.removeprefix(_TORCHVISION), torchvision.models.list_models(torchvision.models)
    if bare not in known:
        close = difflib.get_close_matches(bare, known, n=3, cutoff=0.4)
        raise ValueError(
            f"torchvision has no model {bare!r}" + (f"; did you mean {', '.join(close)}?" if close else "")
        )
    if num_classes is not None:
        raise ValueError("--num-classes is for models of timm: torchvision's have their own")
    weights = torchvision.models.get_model_weights(bare).DEFAULT
    config = {**_IMAGENET, "label_names": weights.meta["categories"] if pretrained else None}
    return torchvision.models.get_model(bare, weights=weights if pretrained else None), config


def _load(model: nn.Module, path: Path) -> None:
    """Load a state dict of the whole model, with or without attention."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise ValueError(f"--weights must be a .safetensors file, got {path}: a pickle can run code and is not read")
    try:
        model.load_state_dict(load_file(path), strict=True)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    except RuntimeError as error:  # torch lists every key that does not fit
        raise ValueError(f"{path} does not fit: {' '.join(str(error).split())}") from error
