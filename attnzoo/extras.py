"""Import modules of optional dependencies, with an error message that says how to install them."""

from __future__ import annotations

import importlib
from types import ModuleType


def load(module: str, *, extra: str, what: str) -> ModuleType:
    """Import and return a module of an optional dependency.

    Args:
        module: The module's name.
        extra: The extra of attnzoo that installs it.
        what: What needs the module, in the plural, for the message.

    Raises:
        ImportError: If the module is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f'{what} need {module.partition(".")[0]}: pip install "attnzoo[{extra}]"') from error
