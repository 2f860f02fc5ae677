"""Four networks for facial behaviour built from attnzoo, and CEDNN's baseline IGC-L24M2.

Importing the package loads none of them, so that its command starts quickly; torch is imported when the first public
name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_models.networks import CEDNN, DBANet, IGCNet, LLANet, TRANet, create, list_models, model_class

__all__ = ["CEDNN", "DBANet", "IGCNet", "LLANet", "TRANet", "create", "list_models", "model_class"]


def __getattr__(name: str) -> Any:
    """Import the networks and return the public name that was asked for."""
    if name in __all__:
        return getattr(importlib.import_module("reference_models.networks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the module's names with the public ones, so that ``dir`` and completion show them before the import."""
    return sorted({*globals(), *__all__})
