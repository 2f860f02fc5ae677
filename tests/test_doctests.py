"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest
import torch

import attnzoo
import reference_models

# What an example may use without importing it: it stands for what a reader has at hand.
GIVEN = {"torch": torch, "attnzoo": attnzoo}
MUST_HAVE_EXAMPLES = {f"attnzoo.layers.{name}" for name in ("squeeze_excite", "cbam", "region_mask", "llam", "igc")} | {
    "attnzoo.layers.difference_gate",
    "attnzoo.layers.dense_backward",
    "attnzoo.registry",
}


def modules(package: ModuleType) -> list[str]:
    """Return the package and all modules in it, but kernels, which import a compiler, and what starts a program."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    names = [package.__name__, *(module.name for module in found)]
    return [name for name in names if ".kernels" not in name and not name.endswith("__main__")]


@pytest.mark.parametrize("name", [*modules(attnzoo), *modules(reference_models)])
def test_examples(name: str):
    failed, tried = doctest.testmod(importlib.import_module(name), extraglobs=GIVEN, optionflags=doctest.ELLIPSIS)
    assert not failed
    assert tried or name not in MUST_HAVE_EXAMPLES, "the layer's example is gone"
