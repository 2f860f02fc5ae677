"""Modules of the optional extras, loaded where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


def load(module: str, *, extra: str, what: str) -> ModuleType:
    """Return a module of an extra.

    Args:
        module: Its name.
        extra: The extra that has it.
        what: What needs it, in the plural, for the message.

    Raises:
        ImportError: If it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f'{what} need {module.partition(".")[0]}: pip install "attnzoo[{extra}]"') from error
