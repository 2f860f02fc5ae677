"""Imports packages that only an extra installs; if one is missing, the error names the extra."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType

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


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the message gives the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; get it with: pip install "attnzoo[{extra}]"')
        self._arguments = (package, extra)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), self._arguments


def load(module: str, *, package: str, extra: str) -> ModuleType:
    """Return the imported ``module``.

    Args:
        module: Dotted name of the module.
        package: Name of its package on PyPI, for the message.
        extra: The extra of attnzoo that installs it.

    Raises:
        MissingExtraError: If it is not installed.
    """
    top = module.partition(".")[0]
    try:
        importlib.import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        raise MissingExtraError(package, extra) from error
    return importlib.import_module(module)


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
