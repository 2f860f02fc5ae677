"""attnzoo: plug-in attention for arbitrary vision backbones.

Importing the package loads nothing, so that its command answers at once; torch comes with the first name that is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnzoo.public import *  # noqa: F403 - the names are listed there

__version__ = "0.1.0"


class _Package(ModuleType):
    """Keeps ``attnzoo.attach`` the function: importing the package of that name would put the package there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "attach" and isinstance(value, ModuleType):
            value = value.attach
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Return a public name, or a module of the package, and load what it needs."""
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if importlib.util.find_spec(f"{__name__}.{name}"):
        importlib.import_module(f"{__name__}.{name}")
        return globals()[name]
    public = importlib.import_module(f"{__name__}.public")
    if name == "__all__" or name in public.__all__:
        return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names too: ``dir`` and completion ask for them before they are loaded."""
    return sorted({*globals(), *importlib.import_module(f"{__name__}.public").__all__})
