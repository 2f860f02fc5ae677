"""Whose gates can be heard: layers that note their own, and the sigmoids of other people's layers.

A layer that calls :func:`attnzoo.ops.note_gates` names its gates itself. timm's and torchvision's layers do not, but
nearly all of them have a module of its own for the sigmoid (``gate``, ``scale_activation``): its output is the gate.
"""

from __future__ import annotations

from torch import Tensor, nn

from attnzoo import registry

_SIGMOIDS = frozenset({"sigmoid", "hardsigmoid", "hardsigmoidjit", "hardsigmoidme"})


def foreign_gates(model: nn.Module) -> dict[str, nn.Module]:
    """Return the sigmoid modules outside registered layers, under ``module:name``."""
    registered = {registry.layer_info(name).cls for name in registry.list_layers()}
    own = [name for name, module in model.named_modules() if type(module) in registered]
    found = {}
    for name, module in model.named_modules():
        parent, _, child = name.rpartition(".")
        inside = any(layer in (parent, "") or parent.startswith(f"{layer}.") for layer in own)
        if name and not inside and type(module).__name__.lower() in _SIGMOIDS:
            found[f"{parent}:{child}"] = module
    return found


def foreign_gate(output: object) -> Tensor | None:
    """Return what a sigmoid gave as (B, C, H, W) if it can be the gate of a map, or None.

    (B, 1, C) is timm's ECA, whose convolution runs over the channels.
    """
    if not isinstance(output, Tensor):
        return None
    if output.dim() == 3 and output.shape[1] == 1:
        return output.transpose(1, 2).unsqueeze(-1)
    return output if output.dim() == 4 else None
