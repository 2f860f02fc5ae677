"""One case of the sweep: export it, run the files at three batches and two sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from attnzoo import export_onnx, export_program
from benchmarks.speed.export_cases import BATCHES, SEED, Case, settled

FIGURES = ("files", "free", "onnxruntime", "torch.export", "largest output", "MB", "s")
Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@torch.no_grad()
def measured(case: Case, folder: Path) -> dict[str, Any]:
    """Export a case and return its row: a second file where one does not take both sizes."""
    start = time.perf_counter()
    differences: dict[str, list[float]] = {"onnxruntime": [], "torch.export": []}
    magnitudes, sizes, files, free = [], list(case.sizes), 0, ""
    largest = 0
    while sizes:
        torch.manual_seed(SEED)
        model = case.make(sizes[0])
        model = settled(model, case.inputs(model, 8, sizes[0]))
        example = case.inputs(model, 2, sizes[0])
        onnx = export_onnx(model, example, folder / "model.onnx", check=False)
        program = export_program(model, example, folder / "model.pt2", check=False)
        if onnx.inputs != program.inputs:
            raise ValueError(f"the two files have other free axes: {onnx.inputs}, {program.inputs}")
        files += 1
        largest = max(largest, onnx.path.stat().st_size)
        axes = {axis for shape in onnx.inputs.values() for axis in shape if isinstance(axis, str)}
        free = "batch, size" if any(axis.startswith("height") for axis in axes) else ", ".join(sorted(axes)) or "none"
        runs = {"onnxruntime": _onnx(onnx.path), "torch.export": _program(program.path)}
        taken = sizes if free == "batch, size" else sizes[:1]
        for batch in BATCHES:
            for size in taken:
                arguments = case.inputs(model, batch, size)
                expected = _tensors(model(*arguments))
                magnitudes += [float(y.abs().max()) for y in expected]
                for name, run in runs.items():
                    got = run(arguments)
                    gaps = [float((mine - theirs).abs().max()) for mine, theirs in zip(expected, got, strict=True)]
                    differences[name] += gaps
        sizes = sizes[len(taken) :]
    return {
        "group": case.group,
        "case": case.name,
        "files": files,
        "free": free,
        **{name: max(gaps) for name, gaps in differences.items()},
        "largest output": max(magnitudes),
        "MB": round(largest / 1e6, 2),
        "s": round(time.perf_counter() - start),
        "error": None,
    }


def _onnx(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(arguments: Sequence[Any]) -> list[Tensor]:
        values = [x.numpy() for x in _tensors(arguments)]
        return [torch.from_numpy(y) for y in session.run(None, dict(zip(names, values, strict=True)))]

    return run


def _program(path: Path) -> Run:
    module: nn.Module = torch.export.load(path).module()
    return lambda arguments: _tensors(module(*arguments))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [x for part in parts for x in _tensors(part)]
