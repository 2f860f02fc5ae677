"""Trace a model to a graph of torch's plain operators, from which all formats are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnzoo.export.axes import Axes, sizes, tensors
from attnzoo.ops import backend

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Shape = tuple[int | str, ...]
_NAMES = ("batch", "channels", "height", "width")


@dataclass(frozen=True)
class Graph:
    """A traced model.

    Attributes:
        program: The program of ``torch.export``.
        inputs: Name to shape; dynamic axes have names, the same name for axes whose lengths must be equal.
        symbols: torch's symbol for each dynamic axis to the axis's name.
        outputs: Names of the outputs.
        fixed: A sentence for each axis that was requested to be dynamic and is not.
    """

    program: ExportedProgram
    inputs: dict[str, Shape]
    symbols: dict[str, str]
    outputs: list[str]
    fixed: tuple[str, ...]


def trace(model: nn.Module, axes: Axes) -> Graph:
    """Return the graph of ``model`` without gradients, with plain operations in place of fused ones.

    The graph can be run without attnzoo.

    Raises:
        ValueError: If torch cannot trace the model.
    """
    try:
        with torch.no_grad(), backend("torch"):
            program = torch.export.export(model, axes.example, dynamic_shapes=axes.dynamic_shapes())
            outputs = _output_names(model(*axes.example))
    except (RuntimeError, ValueError) as error:  # the types of torch's errors
        raise ValueError(f"torch.export cannot follow the model: {str(error).strip().partition(chr(10))[0]}") from error
    names = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    maps = {str(name): values[name].shape for name in names if isinstance(values.get(str(name)), Tensor)}
    symbols = _axis_names(list(maps.values()))
    inputs = {name: tuple(_axis(axis, symbols) for axis in shape) for name, shape in maps.items()}
    return Graph(program, inputs, symbols, outputs, (*axes.fixed, *_constants(axes, inputs)))


def _axis(axis: Any, symbols: dict[str, str]) -> int | str:
    return axis if isinstance(axis, int) else symbols[str(axis)]


def _axis_names(shapes: list[Any]) -> dict[str, str]:
    """Return a name for each symbol in the shapes: ``batch``, ``height``, ``width``, then ``batch_2`` and so on."""
    names: dict[str, str] = {}
    for shape in shapes:
        for place, axis in enumerate(shape):
            if isinstance(axis, int) or str(axis) in names:
                continue
            name = _NAMES[place]
            count = sum(other.partition("_")[0] == name for other in names.values())
            names[str(axis)] = name if count == 0 else f"{name}_{count + 1}"
    return names


def _output_names(output: Any) -> list[str]:
    if isinstance(output, dict):
        return [str(key) for key in output]
    count = len(tensors(output))
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]


def _constants(axes: Axes, inputs: dict[str, Shape]) -> Iterator[str]:
    """Yield a sentence for each axis that the model supports at other lengths, but torch's graph has as a constant."""
    kept = {name for shape in inputs.values() for name in shape if isinstance(name, str)}
    if "batch" in axes.free and "batch" not in kept:
        yield f"the batch is fixed at {tensors(axes.example)[0].shape[0]}: the graph has it as a constant"
    if "size" in axes.free and not kept & {"height", "width"}:
        yield f"the size is fixed at {sizes(axes.example)}: the graph has it as a constant"
