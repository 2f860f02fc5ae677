"""Quantises a network to int8 by onnxruntime's static quantisation, and compares scores, size and time with float32.

Weights are quantised per channel, activations by their range on calibration faces, in the QDQ format (pairs of
quantising and dequantising operators), which every ONNX runtime supports. Only convolutions and matrix products, with
nearly all weights, are quantised. Everything else stays in float32, also grouped convolutions: onnxruntime's int8
versions of those, of ``Where`` and of ``MaxPool`` are slower than float32 and more than double CEDNN's time.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor
from torch.utils.data import DataLoader

from attnzoo import export_onnx
from reference_models.data.dataset import FaceDataset, collate
from reference_models.export.onnx_network import OnnxNetwork
from reference_models.export.subject import Subject
from reference_models.training.evaluate import scores_of
from reference_models.training.networks import inputs_of
from reference_models.training.recipes import Recipe

QUANTISED = ("Conv", "Gemm", "MatMul")
CALIBRATED_AT_ONCE = 8
TURNS, WARM_UP = 40, 5


@dataclass(frozen=True)
class Version:
    """Scores, size and time of the network in one precision.

    Attributes:
        name: ``float32`` or ``int8``.
        scores: Scores of the test side, by name.
        size: Size of the file in bytes.
        seconds: Median time of one face on one thread.
    """

    name: str
    scores: dict[str, float]
    size: int
    seconds: float


class Faces(CalibrationDataReader):
    """Provides onnxruntime's calibration with batches of faces.

    Args:
        faces: Dataset; its first faces are used.
        count: Number of faces.
        recipe: The network's recipe, which determines its inputs.
        names: Names of the network's inputs.
        on_progress: Is called with the number of faces read so far.
    """

    def __init__(
        self, faces: FaceDataset, count: int, recipe: Recipe, names: Sequence[str], on_progress: Callable[[int], None]
    ) -> None:
        loader = DataLoader(faces, CALIBRATED_AT_ONCE, collate_fn=collate)
        self._batches: Iterator[Any] = islice(iter(loader), -(-count // CALIBRATED_AT_ONCE))
        self._recipe, self._names, self._on_progress = recipe, names, on_progress
        self._seen = 0

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch as a dictionary of input name to array; None at the end."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        self._seen += len(batch.image)
        self._on_progress(self._seen)
        inputs = inputs_of(self._recipe, batch)
        return {name: x.numpy() for name, x in zip(self._names, inputs, strict=True)}


def quantize(
    subject: Subject,
    calibration: FaceDataset,
    test: FaceDataset,
    path: Path,
    *,
    count: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[Version, Version]:
    """Write a network in int8, and return scores, size and time in float32 and in int8.

    Args:
        subject: The network with an example input and metadata.
        calibration: Faces from which the ranges of activations are taken; none of them may be scored.
        test: Faces to score.
        path: Path of the file, ending in ``.onnx``; it is written atomically.
        count: Number of faces for the calibration.
        on_progress: Is called with the number of calibration faces so far.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the network cannot be exported.
    """
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared = Path(folder, "float32.onnx"), Path(folder, "prepared.onnx")
        exported = export_onnx(subject.network, subject.example, whole, dynamic=("batch",), metadata=subject.metadata)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        try:
            quantize_static(
                prepared,
                draft,
                Faces(calibration, count, subject.recipe, list(exported.inputs), on_progress),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=_grouped(prepared),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            _write_metadata(draft, {**exported.metadata, "precision": f"int8, calibrated on {count} faces"})
            files = {"float32": whole, "int8": draft}
            networks = {name: OnnxNetwork(file) for name, file in files.items()}
            seconds = times(networks, subject.example)
            versions = [
                Version(
                    name,
                    scores_of(network, subject.recipe, test, calibration=subject.calibration),
                    files[name].stat().st_size,
                    seconds[name],
                )
                for name, network in networks.items()
            ]
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return versions[0], versions[1]


def times(networks: dict[str, OnnxNetwork], example: Sequence[Tensor]) -> dict[str, float]:
    """Return the median seconds of a call of each network; the networks are called in turn."""
    seconds_of: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(WARM_UP + TURNS):
        for name, network in networks.items():
            start = time.perf_counter()
            network(*example)
            if turn >= WARM_UP:
                seconds_of[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds_of.items()}


def _grouped(path: Path) -> list[str]:
    """Return the names of the grouped convolutions in an ONNX file."""
    nodes = onnx.load(path).graph.node
    return [node.name for node in nodes if any(each.name == "group" and each.i > 1 for each in node.attribute)]


def _write_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Replace the metadata of an ONNX file."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
