"""A layer whose gate is what a test gives it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnzoo.ops import note_gates


class Given(nn.Module):
    """Notes ``gate``, or what it is called with, under the name ``given``; with ``hard`` it is a mask."""

    def __init__(self, gate: Tensor | None = None, hard: bool = False) -> None:
        super().__init__()
        self.gate = gate
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        note_gates(self, {"given": x if self.gate is None else self.gate}, hard=self.hard)
        return x


def channel_gate(*values: float) -> Tensor:
    """Return a gate (1, C, 1, 1)."""
    return torch.tensor(values).view(1, -1, 1, 1)
