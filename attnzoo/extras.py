"""Import modules of optional dependencies, with an error message that says how to install them."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["MissingExtraError", "load"]


class MissingExtraError(ImportError):
    """A package of an optional extra is not installed; the message says how to install it.

    Args:
        package: Its name on PyPI.
        extra: The extra of attnzoo that installs it.
        what: What needs it, in the plural, for the message.
    """

    def __init__(self, package: str, extra: str, what: str = "") -> None:
        install = f'pip install "attnzoo[{extra}]"'
        super().__init__(
            f"{what} need {package}: {install}" if what else f"{package} is not installed; get it with: {install}"
        )
        self._arguments = (package, extra, what)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        return type(self), self._arguments


def load(module: str, *, extra: str, package: str = "", what: str = "") -> ModuleType:
    """Return an imported module of an extra.

    Args:
        module: Its dotted name.
        extra: The extra that installs it.
        package: Its package's name on PyPI, for the message; by default the module's top-level name.
        what: What needs it, in the plural, for the message.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    top = module.partition(".")[0]
    try:
        importlib.import_module(top)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        raise MissingExtraError(package or top, extra, what) from error
    return importlib.import_module(module)
