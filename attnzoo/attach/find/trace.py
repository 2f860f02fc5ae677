"""Record one forward pass: which modules were called, in which order, and the shapes of their inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attnzoo.attach.find.inputs import Inputs
from attnzoo.attach.tensors import Path, walk

ADDITIONS = frozenset({
    torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of an output: its path in the output, its shape, and a number that identifies the tensor object."""

    path: Path
    shape: tuple[int, ...]
    ident: int


@dataclass(slots=True)
class Call:
    """One call of one module.

    Attributes:
        name: The module's name.
        order: Point in time at which the call began, counted in events of the pass.
        input_shapes: Shapes of the input tensors.
        input_idents: Identifiers of the input tensors.
        outputs: The output tensors.
        ended: Point in time at which the call ended.
    """

    name: str
    order: int
    input_shapes: tuple[tuple[int, ...], ...]
    input_idents: frozenset[int]
    outputs: tuple[OutputTensor, ...] = ()
    ended: int = -1


@dataclass(frozen=True, slots=True)
class Addition:
    """An addition of two tensors: the innermost running module, the operands' identifiers, the point in time."""

    inside: str
    operands: tuple[int, int]
    order: int


@dataclass(slots=True)
class Trace:
    """The record of a forward pass.

    Attributes:
        image: Shape of the image among the model's arguments.
        calls: Module name to its calls, in order.
        additions: Sums of two tensors of equal rank, in order.
    """

    image: tuple[int, ...]
    calls: dict[str, list[Call]] = field(default_factory=dict)
    additions: list[Addition] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """Batch size of the image."""
        return self.image[0]

    def ended(self, name: str) -> int:
        """Return the point in time at which the last call of ``name`` ended."""
        return self.calls[name][-1].ended

    def outputs_of(self, name: str) -> tuple[OutputTensor, ...]:
        """Return the output tensors of the last call of ``name``."""
        return self.calls[name][-1].outputs


class _Additions(torch.overrides.TorchFunctionMode):
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in ADDITIONS and len(args) > 1 and isinstance(args[0], Tensor) and isinstance(args[1], Tensor):
            self.recorder.added(args[0], args[1])
        return func(*args, **(kwargs or {}))


class _Recorder:
    def __init__(self, inputs: Inputs) -> None:
        image = inputs.image
        if image is None or not image.dim():
            raise ValueError("the model's arguments hold no tensor with a batch")
        self.trace = Trace(image=tuple(image.shape))
        self.running: list[Call] = []
        self.clock = 0
        self.alive: list[Any] = []  # an id is unique only while its object lives

    def ident(self, tensor: Tensor) -> int:
        self.alive.append(tensor)
        return id(tensor)

    def added(self, left: Tensor, right: Tensor) -> None:
        if left.dim() == right.dim() and left.dim() >= 3 and self.running:
            self.clock += 1
            operands = (self.ident(left), self.ident(right))
            self.trace.additions.append(Addition(self.running[-1].name, operands, self.clock))

    def begin(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.clock += 1
        tensors = [tensor for _, tensor in walk((args, dict(kwargs)))]
        call = Call(
            name,
            self.clock,
            tuple(tuple(tensor.shape) for tensor in tensors),
            frozenset(self.ident(tensor) for tensor in tensors),
        )
        self.trace.calls.setdefault(name, []).append(call)
        self.running.append(call)

    def end(self, output: Any) -> None:
        self.clock += 1
        call = self.running.pop()
        call.outputs = tuple(
            OutputTensor(path, tuple(tensor.shape), self.ident(tensor)) for path, tensor in walk(output)
        )
        call.ended = self.clock


def record(model: nn.Module, inputs: Inputs) -> Trace:
    """Run ``model`` once without gradients and return the record; the hooks for it are removed afterwards.

    Raises:
        Exception: Whatever the model raises on ``inputs``.
    """
    recorder = _Recorder(inputs)
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue

        def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
            recorder.begin(name, args, kwargs)

        def end(_: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            recorder.end(output)

        handles += [
            module.register_forward_pre_hook(begin, with_kwargs=True),
            module.register_forward_hook(end),
        ]
    try:
        with torch.no_grad(), _Additions(recorder):
            inputs.call(model)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.trace
