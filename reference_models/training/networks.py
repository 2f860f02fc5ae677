"""Builds a recipe's network for its labels and image size, and selects the fields of a batch that it receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo import attach
from reference_models.data.dataset import Batch
from reference_models.networks.registry import create
from reference_models.training.baselines import PREFIX, classifier
from reference_models.training.recipes import Recipe

FACE_REGIONS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "upper": frozenset({1, 2, 4, 5, 7, 41, 42, 43, 44, 45, 46}),
        "middle": frozenset({6, 9, 11}),
        "lower": frozenset({8, 10, *range(12, 30)}),
    }
)
"""Face region to its action units: TRA-Net's grouping, extended to the units that the paper does not use."""


def build(recipe: Recipe) -> nn.Module:
    """Return the recipe's network with its attached attention; its outputs are in the order of the recipe's labels.

    Raises:
        FileNotFoundError: If an option names a file of weights that does not exist.
        TypeError: If the network does not know an option of the recipe.
        ValueError: If an option's value is not allowed, or the network cannot output the labels in that order.
    """
    if recipe.network.startswith(PREFIX):
        network = classifier(recipe.network.removeprefix(PREFIX), len(recipe.labels), **recipe.options)
    else:
        network = create(recipe.network, **arguments(recipe))
    if recipe.attach:
        attach(network, **recipe.attach, example_inputs=torch.zeros(1, 3, recipe.image_size, recipe.image_size))
    return network


def arguments(recipe: Recipe) -> dict[str, Any]:
    """Return the keyword arguments of the recipe's network: its options, and those set by labels and image size.

    Raises:
        ValueError: If the network cannot output the labels in that order.
    """
    return {**_LABEL_ARGUMENTS[recipe.network](recipe), **recipe.options}


def logits_of(network: nn.Module, recipe: Recipe, batch: Batch) -> Tensor:
    """Return the logits (B, labels); for V views of each picture, (B, V, 3, H, W), the mean over the views."""
    views = batch.image.shape[1] if batch.image.dim() == 5 else 1
    logits: Tensor = network(*inputs_of(recipe, batch))
    return logits.view(len(batch.image), views, -1).mean(1)


def inputs_of(recipe: Recipe, batch: Batch) -> tuple[Tensor, ...]:
    """Return the inputs of the recipe's network: pictures (B * V, 3, H, W), and maps (B * V, K, H, W) if it takes them.

    Raises:
        ValueError: If the network takes difference maps and the batch has none.
    """
    image = batch.image
    views = image.shape[1] if image.dim() == 5 else 1
    pictures = image.flatten(0, 1) if image.dim() == 5 else image
    inputs = [pictures.contiguous(memory_format=torch.channels_last) if recipe.channels_last else pictures]
    if recipe.maps and recipe.options.get("attention_blocks") != 0:
        if batch.maps is None:
            raise ValueError(f"recipe {recipe.name!r} needs difference maps, and the data have none")
        inputs.append(batch.maps.to(image.dtype).repeat_interleave(views, 0))
    return tuple(inputs)


def _units(recipe: Recipe) -> dict[str, Any]:
    return {"num_aus": len(recipe.labels), "image_size": recipe.image_size}


def _classes(recipe: Recipe) -> dict[str, Any]:
    return {"num_classes": len(recipe.labels)}


def _regions(recipe: Recipe) -> dict[str, Any]:
    groups: dict[str, list[int]] = {}
    for unit in recipe.labels.units:
        region = next((name for name, units in FACE_REGIONS.items() if unit in units), None)
        if region is None:
            raise ValueError(f"labels must be action units of a face region, and AU{unit} is of none")
        groups.setdefault(region, []).append(unit)
    if tuple(unit for group in groups.values() for unit in group) != recipe.labels.units:
        raise ValueError(f"labels of TRA-Net must stand together by face region, {groups}, got {recipe.labels}")
    return {"au_groups": groups, "image_size": recipe.image_size}


_LABEL_ARGUMENTS: Mapping[str, Callable[[Recipe], dict[str, Any]]] = MappingProxyType(
    {"cednn": _units, "dba_net": _classes, "igc_net": _units, "lla_net": _classes, "tra_net": _regions}
)
