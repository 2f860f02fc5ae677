"""The kinds of layers, by what they take and return."""

from __future__ import annotations

from typing import Literal

Kind = Literal["unary", "paired", "pyramid", "guided", "split"]
"""What a layer takes: ``unary`` x -> x; ``paired`` (previous, current) -> current; ``pyramid`` [maps] -> vector or
maps; ``guided`` (x, maps) -> x; ``split`` x -> named regions."""
