"""The file formats: functions that write a graph to a file, and that load the file to run it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from attnzoo.export.axes import Arguments, tensors
from attnzoo.export.trace import Graph

Metadata = Mapping[str, str]
Run = Callable[[Arguments], Sequence[Tensor]]
METADATA_FILE = "attnzoo.json"
"""Name of torch's extra file with the metadata in a ``.pt2`` file."""
_LARGEST_ONNX = 2**31 - 1  # bytes, protobuf's limit


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        suffix: Suffix of its files.
        title: Name of the runtime.
        packages: The packages needed to write and run files, in addition to torch.
        write: Writes a graph with metadata to a path.
        load: Returns a function that runs the file.
    """

    suffix: str
    title: str
    packages: tuple[str, ...]
    write: Callable[[Graph, Path, Metadata], None]
    load: Callable[[Path], Run]


def require(packages: Sequence[str]) -> None:
    """Check that all packages are installed.

    Raises:
        ImportError: If one is not; the message says how to install it.
    """
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ImportError(f'{package} is not installed; get it with: pip install "attnzoo[export]"') from error


def _write_onnx(graph: Graph, path: Path, metadata: Metadata) -> None:
    size = sum(x.numel() * x.element_size() for x in graph.program.state_dict.values())
    if size > _LARGEST_ONNX:
        raise ValueError(f"an ONNX file holds 2 GB at most, and the weights are {size / 2**30:.1f} GB: write pt2")
    with _quiet():
        converted = torch.onnx.export(graph.program, dynamo=True, verbose=False, output_names=graph.outputs)
    if converted is None:
        raise ValueError("torch.onnx has made no model")
    model = converted.model
    model.producer_name, model.producer_version = "attnzoo", metadata["attnzoo"]
    model.metadata_props.clear()
    model.metadata_props.update(metadata)
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces with local paths
        for value in node.outputs:
            value.metadata_props.clear()
            _name_axes(value, graph.symbols)
    for value in model.graph.inputs:
        value.metadata_props.clear()
        _name_axes(value, graph.symbols)
    converted.save(path, external_data=False)


def _name_axes(value: Any, names: Mapping[str, str]) -> None:
    """Set the names of a value's dynamic axes to those of the inputs."""
    import onnx_ir

    if value.shape is not None:
        value.shape = onnx_ir.Shape(
            names.get(str(axis.value), axis) if isinstance(axis, onnx_ir.SymbolicDim) else axis for axis in value.shape
        )


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(arguments: Arguments) -> Sequence[Tensor]:
        given = [x.detach().cpu().numpy() for x in tensors(arguments)]
        return [torch.from_numpy(y) for y in session.run(None, dict(zip(names, given, strict=True)))]

    return run


def _write_pt2(graph: Graph, path: Path, metadata: Metadata) -> None:
    with _quiet():
        torch.export.save(graph.program, path, extra_files={METADATA_FILE: json.dumps(metadata, indent=1)})


def _load_pt2(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda arguments: tensors(module(*arguments))


def _write_aoti(graph: Graph, path: Path, metadata: Metadata) -> None:
    from torch._inductor import aoti_compile_and_package

    settings = {"aot_inductor.metadata": dict(metadata)}
    aoti_compile_and_package(graph.program, package_path=str(path), inductor_configs=settings)


def _load_aoti(path: Path) -> Run:
    from torch._inductor import aoti_load_package

    compiled = aoti_load_package(str(path))
    return lambda arguments: tensors(compiled(*arguments))


@contextmanager
def _quiet() -> Any:
    """Suppress log messages and warnings of onnxscript and torch that are of no use to the user."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")  # harmless, about views
            yield
    finally:
        logger.setLevel(level)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "aoti": Format(".pt2", "AOTInductor's runtime", (), _write_aoti, _load_aoti),
        "onnx": Format(".onnx", "onnxruntime", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _load_onnx),
        "pt2": Format(".pt2", "torch", (), _write_pt2, _load_pt2),
    }
)
