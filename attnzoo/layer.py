"""The base class of the layers, which defines how ``torch.fx`` and ``torch.jit.script`` treat them."""

from __future__ import annotations

from typing import NoReturn

from torch import nn


class Layer(nn.Module):
    """A module that ``torch.fx`` traces as one node, and for which ``torch.jit.script`` raises a clear error.

    Layers check shapes and choose an implementation at run time, which a symbolic trace cannot follow.
    """

    def __init__(self) -> None:
        super().__init__()
        # torch.fx treats a module as a leaf only if its `__module__` begins with torch.nn. It is set on the instance:
        # pickling uses that of the class.
        self.__module__ = "torch.nn"

    def __prepare_scriptable__(self) -> NoReturn:
        """Raise: ``torch.jit.script`` calls this method of each module of a model."""
        raise TypeError(
            f"{type(self).__name__} cannot be compiled by torch.jit.script: use torch.jit.trace, torch.export or "
            "torch.compile"
        )
