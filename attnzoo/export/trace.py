"""The graph of a model, in plain operators of torch: what every format is written from."""

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
        program: Of ``torch.export``.
        inputs: Name to shape; a free axis has a name, the same wherever its length must be the same.
        symbols: What torch calls each of the named axes.
        outputs: Their names.
        fixed: A sentence for each axis that was wanted free and is not.
    """

    program: ExportedProgram
    inputs: dict[str, Shape]
    symbols: dict[str, str]
    outputs: list[str]
    fixed: tuple[str, ...]


def trace(model: nn.Module, axes: Axes) -> Graph:
    """Return the graph of ``model``, in evaluation and without gradients; every fused operation is plain ones in it.

    Nothing of this package is needed where the graph is run.

    Raises:
        ValueError: If torch cannot follow the model.
    """
    try:
        with torch.no_grad(), backend("torch"):
            program = torch.export.export(model, axes.example, dynamic_shapes=axes.dynamic_shapes())
            outputs = _output_names(model(*axes.example))
    except (RuntimeError, ValueError) as error:  # torch's own errors are of these
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
    """Return a name for each symbol in the shapes: ``batch``, ``height``, ``width``, with a number from the second."""
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
    """Yield a sentence for what the model takes at any length and torch has made a constant all the same."""
    kept = {name for shape in inputs.values() for name in shape if isinstance(name, str)}
    if "batch" in axes.free and "batch" not in kept:
        yield f"the batch is fixed at {tensors(axes.example)[0].shape[0]}: the graph has it as a constant"
    if "size" in axes.free and not kept & {"height", "width"}:
        yield f"the size is fixed at {sizes(axes.example)}: the graph has it as a constant"
