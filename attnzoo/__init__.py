"""attnzoo: plug-in attention for arbitrary vision backbones.

Importing the package loads no other module, so that its command starts fast; torch is imported at the first use of a
public name.
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
    """Keeps ``attnzoo.attach`` the function when the import of the package ``attnzoo.attach`` would overwrite it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "attach" and isinstance(value, ModuleType):
            value = value.attach
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Return a public name or a module of the package, importing it first."""
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
    """Return the public names, loaded or not, for ``dir`` and completion."""
    return sorted({*globals(), *importlib.import_module(f"{__name__}.public").__all__})
