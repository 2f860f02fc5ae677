"""An ONNX file as a module, so that the code for scores and predictions also works with an exported network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from reference_models.extras import load


class OnnxNetwork(nn.Module):
    """Runs an ONNX file with onnxruntime, on one CPU thread.

    Args:
        path: Path of the file.

    Attributes:
        input_names: Names of the file's inputs, in order.
        metadata: The file's metadata.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        ValueError: If onnxruntime cannot read the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        onnxruntime = load("onnxruntime", package="onnxruntime", extra="export")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _errors(onnxruntime) as error:
            raise ValueError(f"{path} cannot be run: {error}") from error
        self.input_names = [each.name for each in self._session.get_inputs()]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the network's first output."""
        values = (x.contiguous().numpy() for x in inputs)
        (output, *_) = self._session.run(None, dict(zip(self.input_names, values, strict=True)))
        return torch.from_numpy(output)


def _errors(onnxruntime: object) -> tuple[type[Exception], ...]:
    """Return the exceptions that onnxruntime raises for a file that is not a model or is damaged."""
    state = onnxruntime.capi.onnxruntime_pybind11_state  # type: ignore[attr-defined]
    return (state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.Fail, state.NoSuchFile)
