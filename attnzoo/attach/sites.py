"""The places where a layer may be attached: a module of the model, and the tensors in its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal["NCHW", "NHWC", "NLC", "NCL"]
"""Order of a tensor's dimensions; L is the sequence of tokens: prefix tokens, then H*W grid tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One tensor in a module's output.

    Attributes:
        path: Indices or keys that lead to the tensor in the output; empty if the output is the tensor.
        layout: Order of its dimensions.
        channels: Number of channels.
        prefix_tokens: Number of tokens before the grid (class and register tokens), which attention does not change;
            0 except in NLC.
        grid: Height and width in pixels or tokens at the probed input size.
    """

    path: tuple[int | str, ...] = ()
    layout: Layout
    channels: int
    prefix_tokens: int = 0
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One module to whose output attention is applied.

    Attributes:
        name: Its name in ``model.named_modules()``.
        stage: The stage it belongs to, counted from 1; None if the model has no stages.
        spots: The tensors of its output; each gets a separate layer.
        slot: Name of the model's own attention slot that is filled instead (timm's ``<block>.se``), or None.
    """

    name: str
    stage: int | None
    spots: tuple[Spot, ...]
    slot: str | None = None
