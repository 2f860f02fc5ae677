"""Torchvision's classifiers, with one output per label, as baselines for the papers' networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from reference_models.checks import positive_int
from reference_models.weights import read_weights

PREFIX = "torchvision/"


def classifier(name: str, outputs: int, *, weights: str | None = None, **options: Any) -> nn.Module:
    """Return a torchvision classification model whose last linear layer has ``outputs`` outputs.

    Args:
        name: Torchvision's name of the model, such as ``resnet18``.
        outputs: Number of outputs.
        weights: Path of its ImageNet weights, as torchvision publishes them; None for random weights.
        **options: Options of torchvision's model builder.

    Raises:
        FileNotFoundError: If there is no file ``weights``.
        ValueError: If there is no such model, it has no linear layer, or the weights are those of another model.
    """
    positive_int("outputs", outputs)
    if name not in torchvision.models.list_models(torchvision.models):
        raise ValueError(f"torchvision has no classification model named {name!r}")
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if weights is not None:
        _load(model, Path(weights))
    heads = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise ValueError(f"{name} must end in a linear layer, and has none")
    path, last = heads[-1]
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Linear(last.in_features, outputs))
    return model


def _load(model: nn.Module, path: Path) -> None:
    weights = read_weights(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"weights must be those of {type(model).__name__}, and {path} holds others: {error}"
        ) from error
