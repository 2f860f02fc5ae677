"""Exported networks, run by ONNX Runtime and by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino")
Run = Callable[[], np.ndarray]


def require() -> dict[str, str]:
    """Return the versions of the packages that are needed.

    Raises:
        SystemExit: If one is not installed; the message says how to get it.
    """
    absent = [name for name in PACKAGES if util.find_spec(name) is None]
    if absent:
        raise SystemExit(f'not installed: {", ".join(absent)}; get them with: pip install "attnzoo[bench]"')
    return {name: metadata.version(name) for name in PACKAGES}


def nodes(path: Path) -> int:
    """Return how many nodes an ONNX graph has."""
    import onnx

    return len(onnx.load(path).graph.node)


def by_onnxruntime(path: Path, x: Tensor, threads: int) -> Run:
    """Return a function that runs an exported network of one input by ONNX Runtime.

    Its threads spin while they wait for the next run, which would take a core from whoever has the next turn: they are
    told to stop when a run ends.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, feed)[0]


def by_openvino(path: Path, x: Tensor, threads: int, precision: str = "f32") -> Run:
    """Return a function that runs an exported network of one input by OpenVINO.

    Args:
        path: The ONNX file.
        x: The input.
        threads: Threads to compute with.
        precision: ``f32``, or ``bf16``, which OpenVINO takes by itself on processors that multiply it faster.
    """
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    array = x.numpy()
    return lambda: request.infer([array])[0]


def openvino_default() -> str:
    """Return the precision that OpenVINO takes on this processor where it is told none."""
    import openvino

    found = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    return {"bfloat16": "bf16", "float32": "f32", "float16": "f16"}.get(found, found)


def check(name: str, found: Tensor | np.ndarray, expected: Tensor, tolerance: float) -> None:
    """Check a result before its time is taken.

    Raises:
        RuntimeError: If the largest difference is above ``tolerance`` times the largest value.
    """
    with torch.no_grad():
        error = float((torch.as_tensor(found) - expected).abs().max() / expected.abs().max())
    if not error <= tolerance:
        raise RuntimeError(f"{name} is wrong by {error:.1e} of the largest value; {tolerance:.0e} is allowed")
