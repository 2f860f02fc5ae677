"""The four networks for facial behaviour that are built from attnzoo, and the baseline of one of them.

Importing the package loads nothing, so that its command answers at once; torch comes with the first name that is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_models.networks import CEDNN, DBANet, IGCNet, LLANet, TRANet, create, list_models, model_class

__all__ = ["CEDNN", "DBANet", "IGCNet", "LLANet", "TRANet", "create", "list_models", "model_class"]


def __getattr__(name: str) -> Any:
    """Return a public name, and load the networks."""
    if name in __all__:
        return getattr(importlib.import_module("reference_models.networks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names too: ``dir`` and completion ask for them before they are loaded."""
    return sorted({*globals(), *__all__})
