"""Modules as graphs: compiled, with shapes that change, exported, and run by onnxruntime."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from tests.capabilities.eager import outputs_and_gradients
from tests.capabilities.subjects import Subject
from tests.capabilities.table import capability
from tests.layers import cases


@capability("compile fullgraph", slow=True, compiles=True)
def compiled(subject: Subject, backend: str = "aot_eager") -> None:
    """One graph forward and one backward, the values of eager mode."""
    torch.compiler.reset()
    module = subject.make("cpu")
    arguments = subject.inputs(module, 2, subject.size)
    expected = outputs_and_gradients(module, arguments)
    got = outputs_and_gradients(module, arguments, torch.compile(module, fullgraph=True, backend=backend))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@capability("dynamic shapes without recompilation", slow=True, compiles=True)
@torch.no_grad()
def dynamic(subject: Subject, backend: str = "aot_eager") -> None:
    """Compiled once with ``dynamic=True``, run at other batch sizes and, where it takes any, another image size."""
    torch.compiler.reset()
    module = subject.make("cpu")
    function = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    function(*subject.inputs(module, 2, subject.size))
    with torch.compiler.set_stance("fail_on_recompile"):
        for arguments in _others(subject, module):
            torch.testing.assert_close(function(*arguments), module(*arguments), rtol=1e-4, atol=1e-4)


@capability("torch.export", slow=True)
@torch.no_grad()
def exported(subject: Subject) -> None:
    """A program with dynamic batch and, where it takes any, dynamic size."""
    module = subject.make("cpu")
    arguments = subject.inputs(module, 3, subject.size)
    program = torch.export.export(module, arguments, dynamic_shapes=_dimensions(subject, arguments)).module()
    for other in _others(subject, module):
        torch.testing.assert_close(program(*other), module(*other), rtol=1e-4, atol=1e-4)


@capability("ONNX + onnxruntime", slow=True)
@torch.no_grad()
def in_onnxruntime(subject: Subject) -> None:
    """Exported with dynamic batch and, where it takes any, dynamic size; onnxruntime agrees within 1e-4."""
    import onnxruntime

    module = subject.make("cpu")
    arguments = subject.inputs(module, 3, subject.size)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's remarks on torch itself
        torch.onnx.export(
            module, arguments, dynamo=True, verbose=False, dynamic_shapes=_dimensions(subject, arguments)
        ).save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    for other in _others(subject, module):
        feed = dict(zip(names, (x.numpy() for x in cases.leaves(other)), strict=True))
        got = [torch.from_numpy(output) for output in session.run(None, feed)]
        torch.testing.assert_close(got, list(cases.leaves(module(*other))), rtol=1e-4, atol=1e-4)


def _dimensions(subject: Subject, arguments: tuple[Any, ...]) -> Any:
    """Return the dynamic dimensions; ``AUTO`` since a pyramid's sizes and a pair's hang together."""
    auto = torch.export.Dim.AUTO
    moving: dict[int, Any] = {0: auto} if subject.other is None else {0: auto, 2: auto, 3: auto}
    return cases.mapped(arguments, lambda _: moving)


def _others(subject: Subject, module: nn.Module) -> list[tuple[Tensor, ...]]:
    """Return arguments of other shapes than those that the graph was made from."""
    return [subject.inputs(module, 5, subject.size), subject.inputs(module, 4, subject.other or subject.size)]
