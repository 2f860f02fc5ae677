"""Parts on the layers, from the registry and the layers' own modules."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import torch

import attnzoo
from benchmarks import ROOT
from docs.generate.markdown import differences, shown, table

CHANNELS, SIZE = 192, 28
PYRAMID = ((24, 56), (48, 28), (96, 14), (192, 7))
TAKES = {
    "unary": "`x -> x`",
    "paired": "`(previous, current) -> current`",
    "pyramid": "`[maps] -> vector` or `maps`",
    "guided": "`(x, maps) -> x`",
    "split": "`x -> {region: x}`",
}


def layers(path: Path) -> str:
    """Return the table of all registered layers, each linked to its page from ``path``."""
    folder = os.path.relpath(ROOT / "docs/layers", path.parent)
    rows = []
    for name in attnzoo.list_layers():
        info = attnzoo.layer_info(name)
        cost = _cost(info)
        rows.append(
            (
                f"[`{name}`]({Path(folder, name).as_posix()}.md)",
                TAKES[info.kind],
                info.summary,
                f"{cost.parameters:,}",
                f"{cost.macs / 1e6:.2f}",
            )
        )
    pyramid = ", ".join(f"{count} x {side} x {side}" for count, side in PYRAMID)
    counted = f"Counted on one map of {CHANNELS} x {SIZE} x {SIZE}; a pyramid has the maps {pyramid}."
    return f"{table(('layer', 'takes', 'what it does', 'parameters', 'M MACs (fvcore)'), rows)}\n\n{counted}"


def layer(path: Path, name: str) -> str:
    """Return the facts about one layer, and its differences from the paper as its module states them."""
    info = attnzoo.layer_info(name)
    cost = _cost(info)
    options = [
        f"`{parameter.name}={shown(parameter.default)}`"
        for parameter in list(inspect.signature(info.cls).parameters.values())[1:]
        if parameter.name not in {"device", "dtype"}
    ]
    facts = [
        ("class", f"[`attnzoo.{info.cls.__name__}`][attnzoo.{info.cls.__name__}]"),
        ("takes", f"{info.kind}: {TAKES[info.kind]}"),
        ("keeps", ", ".join(sorted(info.keeps)).replace("_", " ")),
        ("options", ", ".join(options)),
        ("counted on", _where(info)),
        ("parameters", f"{cost.parameters:,}"),
        ("MACs (fvcore)", f"{cost.macs:,}"),
    ]
    facts += [(f"except: {check}", reason) for check, reason in sorted(info.exceptions.items())]
    said = differences(inspect.getmodule(info.cls))
    return f"{table((f'`{name}`', ''), facts)}\n\n## Differences from the paper\n\n{said}"


def _cost(info: attnzoo.LayerInfo) -> attnzoo.Cost:
    pyramid = info.kind == "pyramid"
    made = attnzoo.create(info.name, [count for count, _ in PYRAMID] if pyramid else CHANNELS, **info.example)
    x = torch.zeros(1, CHANNELS, SIZE, SIZE)
    inputs: tuple[Any, ...] = (x,)
    if info.kind == "paired":
        inputs = (x, x)
    elif info.kind == "guided":
        inputs = (x, torch.zeros(1, made.num_maps, SIZE, SIZE))
    elif pyramid:
        inputs = ([torch.zeros(1, count, side, side) for count, side in PYRAMID],)
    return attnzoo.cost(made, *inputs)


def _where(info: attnzoo.LayerInfo) -> str:
    options = "".join(f", {key}={shown(value)}" for key, value in info.example.items())
    if info.kind == "pyramid":
        return f"maps of {', '.join(f'{count} x {side} x {side}' for count, side in PYRAMID)}{options}"
    return f"a map of {CHANNELS} x {SIZE} x {SIZE}{options}"
