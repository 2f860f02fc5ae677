"""The base of the layers: what tracers and compilers of graphs are to make of any of them."""

from __future__ import annotations

from typing import NoReturn

from torch import nn


class Layer(nn.Module):
    """A module that ``torch.fx`` takes as one node, and ``torch.jit.script`` refuses with a sentence.

    Layers check shapes and choose between implementations as they run, which a symbolic trace cannot follow.
    """

    def __init__(self) -> None:
        super().__init__()
        # torch.fx takes modules that say they are torch.nn's as leaves, and has no other sign for it. The class says
        # where it is from as ever, so that pickling finds it.
        self.__module__ = "torch.nn"

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse ``torch.jit.script``, which asks each module of a model for this method."""
        raise TypeError(
            f"{type(self).__name__} cannot be compiled by torch.jit.script: use torch.jit.trace, torch.export or "
            "torch.compile"
        )
