"""The kinds of layers, named by their inputs and outputs."""

from __future__ import annotations

from typing import Literal

Kind = Literal["unary", "paired", "pyramid", "guided", "split"]
"""The inputs and outputs of a layer: ``unary`` x -> x; ``paired`` (previous, current) -> current; ``pyramid`` [maps] ->
vector or maps; ``guided`` (x, maps) -> x; ``split`` x -> named regions."""
