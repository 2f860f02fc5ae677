"""Find the gates of layers from other libraries: the outputs of their sigmoid modules.

attnzoo's layers report their gates by :func:`attnzoo.ops.note_gates`. Those of timm and torchvision do not, but nearly
all have a separate module for the sigmoid (``gate``, ``scale_activation``), whose output is the gate.
"""

from __future__ import annotations

from torch import Tensor, nn

from attnzoo import registry

_SIGMOIDS = frozenset({"sigmoid", "hardsigmoid", "hardsigmoidjit", "hardsigmoidme"})


def foreign_gates(model: nn.Module) -> dict[str, nn.Module]:
    """Return the sigmoid modules outside registered layers, under ``module:name``."""
    registered = {registry.layer_info(name).cls for name in registry.list_layers()}
    reporting = [name for name, module in model.named_modules() if type(module) in registered]
    sigmoids = {}
    for name, module in model.named_modules():
        parent, _, child = name.rpartition(".")
        inside = any(layer in (parent, "") or parent.startswith(f"{layer}.") for layer in reporting)
        if name and not inside and type(module).__name__.lower() in _SIGMOIDS:
            sigmoids[f"{parent}:{child}"] = module
    return sigmoids


def foreign_gate(output: object) -> Tensor | None:
    """Return a sigmoid's output as (B, C, H, W) if it can be the gate of a map, or None.

    (B, 1, C) is the shape in timm's ECA, whose convolution runs over the channels.
    """
    if not isinstance(output, Tensor):
        return None
    if output.dim() == 3 and output.shape[1] == 1:
        return output.transpose(1, 2).unsqueeze(-1)
    return output if output.dim() == 4 else None
