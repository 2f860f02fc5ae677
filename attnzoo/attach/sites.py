"""Where a layer may be attached: a module of the model, and the tensors in its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal["NCHW", "NHWC", "NLC", "NCL"]
"""Order of a tensor's dimensions; L is a sequence of tokens, H*W of them behind the prefix tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One tensor in what a module returns.

    Attributes:
        path: Indices or keys that lead to the tensor in the output; empty if the output is the tensor.
        layout: Order of its dimensions.
        channels: Its channels.
        prefix_tokens: Tokens before the grid (class and register tokens), which attention leaves alone; 0 but in NLC.
        grid: Height and width in pixels or tokens at the probed input size.
    """

    path: tuple[int | str, ...] = ()
    layout: Layout
    channels: int
    prefix_tokens: int = 0
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One module whose output attention is applied to.

    Attributes:
        name: Its name in ``model.named_modules()``.
        stage: The stage it belongs to, counted from 1, where the model has stages.
        spots: The tensors of its output, each of which gets a layer of its own.
        slot: Name of a native attention slot that is filled instead (timm's ``<block>.se``), or None.
    """

    name: str
    stage: int | None
    spots: tuple[Spot, ...]
    slot: str | None = None
