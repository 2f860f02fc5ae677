"""A network in int8, by onnxruntime's static quantisation, and what it has lost: accuracy, bytes, time.

Weights are quantised by channel, activations by the range that they have on faces (QDQ: pairs of operators that
quantise and back, which every runtime for ONNX reads). Only what multiplies by a matrix is quantised, which is nearly
all weights. The rest stays in float32, grouped convolutions too: onnxruntime's int8 versions of those, of ``Where`` and
of ``MaxPool`` are slower than float32, and make a CEDNN take more than twice its time.
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
from typing import Any, Literal

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
DYNAMIC: tuple[Literal["batch"]] = ("batch",)
CALIBRATED_AT_ONCE = 8
TURNS, WARM_UP = 40, 5


@dataclass(frozen=True)
class Version:
    """What one version of the network is like.

    Attributes:
        name: ``float32`` or ``int8``.
        scores: On the test side.
        size: Bytes of the file.
        seconds: Median time of one face on one thread.
    """

    name: str
    scores: dict[str, float]
    size: int
    seconds: float


class Faces(CalibrationDataReader):  # type: ignore[misc]
    """Hands faces to the calibration.

    Args:
        faces: They are taken from the beginning.
        count: How many.
        recipe: Says what the network takes of them.
        names: Of the network's inputs.
        told: Is called with the number of faces so far.
    """

    def __init__(
        self, faces: FaceDataset, count: int, recipe: Recipe, names: Sequence[str], told: Callable[[int], None]
    ) -> None:
        loader = DataLoader(faces, CALIBRATED_AT_ONCE, collate_fn=collate)
        self._batches: Iterator[Any] = islice(iter(loader), -(-count // CALIBRATED_AT_ONCE))
        self._recipe, self._names, self._told = recipe, names, told
        self._seen = 0

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch by input, or None."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        self._seen += len(batch.image)
        self._told(self._seen)
        inputs = inputs_of(self._recipe, batch)
        return {name: x.numpy() for name, x in zip(self._names, inputs, strict=True)}


def quantize(
    made: Subject,
    calibration: FaceDataset,
    test: FaceDataset,
    path: Path,
    *,
    count: int,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[Version, Version]:
    """Write a network in int8 and return what it is like in float32 and in int8.

    Args:
        made: The network.
        calibration: Faces whose activations give the ranges; none that is scored.
        test: Faces to score on.
        path: Ends in ``.onnx``; it appears whole or not at all.
        count: Number of faces for the calibration.
        told: Is called with the number of faces so far.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the network cannot be exported.
    """
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared = Path(folder, "float32.onnx"), Path(folder, "prepared.onnx")
        exported = export_onnx(made.network, made.example, whole, dynamic=DYNAMIC, metadata=made.metadata)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        try:
            quantize_static(
                prepared,
                draft,
                Faces(calibration, count, made.recipe, list(exported.inputs), told),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=_grouped(prepared),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            _say(draft, {**exported.metadata, "precision": f"int8, calibrated on {count} faces"})
            files = {"float32": whole, "int8": draft}
            networks = {name: OnnxNetwork(file) for name, file in files.items()}
            seconds = times(networks, made.example)
            versions = [
                Version(
                    name,
                    scores_of(network, made.recipe, test, calibration=made.calibration),
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
    """Return the median seconds of a call of each network; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(WARM_UP + TURNS):
        for name, network in networks.items():
            start = time.perf_counter()
            network(*example)
            if turn >= WARM_UP:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def _grouped(path: Path) -> list[str]:
    """Return the names of the grouped convolutions."""
    nodes = onnx.load(path).graph.node
    return [node.name for node in nodes if any(each.name == "group" and each.i > 1 for each in node.attribute)]


def _say(path: Path, metadata: dict[str, str]) -> None:
    """Write metadata into an ONNX file in place of what it has."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
