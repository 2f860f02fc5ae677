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
"""Extra to its required modules and their names on PyPI; dlib is not listed, because not every command needs it."""


def data_file(module: str, relative: str, *, package: str, extra: str) -> Path:
    """Return the path of a data file inside an installed package, without importing the package.

    Args:
        module: Top-level name of the package that contains the file.
        relative: Path of the file inside it.
        package: Name of the package on PyPI, for the message.
        extra: The extra of attnzoo that installs it.

    Raises:
        MissingExtraError: If the package is not installed, or does not contain the file.
    """
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / relative
        if path.is_file():
            return path
    raise MissingExtraError(f"{package} with its file {relative}", extra)


def require(*extras: str) -> None:
    """Check that extras are installed, without importing them; commands call it before they start their work.

    Args:
        extras: Keys of :data:`EXTRAS`.

    Raises:
        MissingExtraError: If a module is missing; the message names all missing extras.
    """
    missing = {
        extra: package
        for extra in extras
        for module, package in EXTRAS[extra].items()
        if importlib.util.find_spec(module) is None
    }
    if missing:
        raise MissingExtraError(next(iter(missing.values())), ",".join(missing))
