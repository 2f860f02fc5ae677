"""Export a model to a file for another runtime, run the file there, and keep it only if it agrees with the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnzoo import files
from attnzoo.export.axes import FREE, Arguments, Free, find_axes, tensors
from attnzoo.export.formats import FORMATS, Format, Run, require
from attnzoo.export.trace import Shape, trace

if TYPE_CHECKING:
    from rich.table import Table

TOLERANCE = 1e-4
"""Default for the largest allowed difference, relative to the largest output or to 1, whichever is larger."""


@dataclass(frozen=True)
class Exported:
    """Description of an exported file.

    Attributes:
        path: The file.
        inputs: Name to shape; a dynamic axis has a name instead of a length.
        outputs: Names of the outputs.
        fixed: A sentence for each axis that was requested to be dynamic and is not, with the reason.
        metadata: The metadata in the file.
        difference: Largest difference to the model over all compared inputs; None without a check.
        tried: Number of compared inputs.
        runtime: The runtime that ran the file.
    """

    path: Path
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    fixed: tuple[str, ...]
    metadata: Mapping[str, str]
    difference: float | None
    tried: int
    runtime: str

    def __rich__(self) -> Table:
        """Return the table for ``rich``."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=self.metadata.get("model"), title_justify="left", show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("file", Text(f"{self.path}, {self.path.stat().st_size / 1e6:.1f} MB"))
        for name, shape in self.inputs.items():
            table.add_row("input", Text(f"{name} ({', '.join(map(str, shape))})"))
        table.add_row("outputs", Text(", ".join(self.outputs)))
        for sentence in self.fixed:
            table.add_row("fixed", Text(sentence, style="yellow"))
        if self.difference is None:
            table.add_row("checked", Text("no", style="yellow"))
        else:
            comparison = f"{self.runtime}, {self.tried} inputs: largest difference {self.difference:.2g}"
            table.add_row("checked", Text(comparison))
        table.add_row("metadata", Text(", ".join(self.metadata)))
        return table


def export_onnx(
    model: nn.Module,
    example: Tensor | Arguments,
    path: str | Path,
    *,
    dynamic: Collection[Free] = FREE,
    metadata: Mapping[str, Any] | None = None,
    check: bool = True,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Export a model to an ONNX file, for onnxruntime and other runtimes.

    Fused operations are exported as plain ones. The file is then run by onnxruntime on the example and on other batches
    and sizes, and is kept only if it agrees with the model.

    Args:
        model: Any model in evaluation mode, with or without attached layers.
        example: Images (B, C, H, W), or a tuple of arguments of the model's forward.
        path: The file, ending in ``.onnx``; it is written atomically.
        dynamic: The axes to export as dynamic: ``"batch"``, the first axis of every input, and ``"size"``, height and
            width of every input (B, C, H, W). An axis that the model supports at one length only is fixed;
            :attr:`Exported.fixed` has the reason.
        metadata: Metadata to write into the file, as text or JSON, in addition to the versions of attnzoo and torch.
        check: Whether to run the file and compare it with the model.
        tolerance: Largest allowed difference, relative to the largest output or to 1, whichever is larger.

    Raises:
        ImportError: If onnx, onnxscript or onnxruntime is not installed.
        ValueError: If an argument is wrong, the model cannot be traced, or the file does not agree with the model; then
            the message contains the largest difference, and no file is written.

    Example:
        >>> import tempfile
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 3), attnzoo.SqueezeExcite(16)).eval()
        >>> exported = export_onnx(network, torch.rand(2, 3, 32, 32), Path(tempfile.mkdtemp(), "network.onnx"))
        >>> exported.inputs, exported.difference < 1e-5
        ({'input': ('batch', 3, 'height', 'width')}, True)
    """
    return export(FORMATS["onnx"], model, example, path, dynamic, metadata, check, tolerance)


def export_program(
    model: nn.Module,
    example: Tensor | Arguments,
    path: str | Path,
    *,
    dynamic: Collection[Free] = FREE,
    metadata: Mapping[str, Any] | None = None,
    check: bool = True,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Export a model to a program of ``torch.export``, which runs with torch alone, without attnzoo.

    ``torch.export.load(path).module()`` is the model; the metadata are in its extra file ``attnzoo.json``. Arguments,
    checks and errors are those of :func:`export_onnx`, but ``path`` ends in ``.pt2``, and no other package is needed.
    """
    return export(FORMATS["pt2"], model, example, path, dynamic, metadata, check, tolerance)


def export_aoti(
    model: nn.Module,
    example: Tensor | Arguments,
    path: str | Path,
    *,
    dynamic: Collection[Free] = FREE,
    metadata: Mapping[str, Any] | None = None,
    check: bool = True,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Export a model to a compiled library by AOTInductor, for this kind of processor and this version of torch.

    Load it by ``torch._inductor.aoti_load_package(path)``, or by torch's C++ API without Python. The export needs the
    C++ compiler that ``torch.compile`` uses, and takes minutes. Arguments, checks and errors are those of
    :func:`export_onnx`, but ``path`` ends in ``.pt2``.

    Raises:
        RuntimeError: If the model cannot be compiled.
    """
    return export(FORMATS["aoti"], model, example, path, dynamic, metadata, check, tolerance)


def export(
    form: Format,
    model: nn.Module,
    example: Tensor | Arguments,
    path: str | Path,
    dynamic: Collection[Free],
    metadata: Mapping[str, Any] | None,
    check: bool,
    tolerance: float,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Export a model in one of the formats, see :func:`export_onnx`; call ``on_stage`` with the name of each step."""
    path = Path(path)
    _check(model, tolerance)
    files.check_writable(path, form.suffix)
    require(form.packages)
    on_stage("Trying other batches and sizes")
    axes = find_axes(model, (example,) if isinstance(example, Tensor) else tuple(example), dynamic)
    on_stage("Tracing")
    graph = trace(model, axes)
    texts = _metadata(metadata or {})
    difference, tried = None, (axes.example, *axes.others) if check else ()
    with files.whole(path) as draft:
        on_stage(f"Writing for {form.title}")
        form.write(graph, draft, texts)
        if check:
            on_stage(f"Comparing with {form.title}")
            difference = largest_difference(model, form.load(draft), tried)
            if not difference <= tolerance:
                raise ValueError(
                    f"what {form.title} computes differs from the model by {difference:.3g}, and {tolerance:.3g} is "
                    "allowed: no file was written"
                )
    return Exported(path, graph.inputs, tuple(graph.outputs), graph.fixed, texts, difference, len(tried), form.title)


@torch.no_grad()
def largest_difference(model: nn.Module, run: Run, inputs: Collection[Arguments]) -> float:
    """Return the largest difference between the outputs of model and file, relative to the output's maximum or to 1.

    It is infinite if only one of two values is finite, or if numbers or shapes of outputs differ.
    """
    largest = 0.0
    for arguments in inputs:
        expected, got = tensors(model(*arguments)), list(run(arguments))
        if [x.shape for x in expected] != [x.shape for x in got]:
            return math.inf
        for mine, theirs in zip(expected, got, strict=True):
            unit = max(1.0, float(mine.abs().max())) if mine.numel() else 1.0
            gap = (mine - theirs.to(mine)).abs().max() if mine.numel() else torch.zeros(())
            largest = max(largest, float(gap) / unit) if bool(gap.isfinite()) else math.inf
    return largest


def _check(model: nn.Module, tolerance: float) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if training := [name or "the model itself" for name, module in model.named_modules() if module.training]:
        raise ValueError(f"model must be in evaluation, call model.eval(): {training[0]} is training")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")


def _metadata(given: Mapping[str, Any]) -> dict[str, str]:
    from attnzoo import __version__

    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    return {**texts, "attnzoo": __version__, "torch": torch.__version__}
