"""The site lists of families, as they are pinned; `benchmarks/sweeps/attach.py` compares all, this a few small ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision

from attnzoo.attach.find.probe import probe
from attnzoo.attach.find.search import Finder
from attnzoo.attach.sites import Site

PINS = Path(__file__).parent / "sites"
FEW = [
    "timm-byobnet",  # blocks of four kinds
    "timm-cait",  # no class token in the blocks, though the model has one
    "timm-convnext",
    "timm-dla",  # stages are trees
    "timm-efficientnet",
    "timm-efficientvim",  # tuples with a state that is no grid
    "timm-levit",  # tokens, one size only
    "timm-mambaout",  # NHWC
    "timm-mvitv2",  # (tokens, size)
    "timm-pit",  # maps at stages, tokens at blocks, the last ones dead
    "timm-resnet",
    "timm-tnt",  # the first element of the tuple has another batch
    "timm-vision_transformer",  # the last block: only the class token lives
    "torchvision-mobilenetv3",
    "torchvision-shufflenetv2",
]


def plain(site: Site) -> list[Any]:
    spots = [[list(spot.path), spot.layout, spot.channels, spot.prefix_tokens, list(spot.grid)] for spot in site.spots]
    return [site.name, site.stage, site.slot, spots]


@pytest.mark.parametrize("name", FEW)
def test_sites_are_those_that_are_pinned(name: str) -> None:
    pin = json.loads((PINS / f"{name}.json").read_text())
    if pin["family"].startswith("timm/"):
        model = timm.create_model(pin["model"], **pin["options"])
    else:
        model = torchvision.models.get_model(pin["model"], weights=None, **pin["options"])
    channels, height, width = pin["image"]
    sizes = [(pin["sites"], (height, width))]
    if pin["wide_sites"]:
        sizes.append((pin["wide_sites"], (height, 2 * width)))
    for pinned, size in sizes:
        finder = Finder(probe(model, (torch.randn(2, channels, *size),)))
        assert {where: [plain(site) for site in finder.find(where)] for where in pinned} == pinned


def test_every_family_is_pinned() -> None:
    pinned = {json.loads(path.read_text())["family"] for path in PINS.glob("*.json")}
    assert {f"timm/{module}" for module in timm.models.list_modules()} <= pinned
    models = Path(__file__).parents[2] / "benchmarks" / "sweeps" / "attach_models.json"
    assert set(json.loads(models.read_text())) == pinned
