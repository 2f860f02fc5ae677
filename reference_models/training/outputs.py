"""Gathers a network's outputs for action units over batches and processes."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Outputs(Metric):
    """Probabilities, presence and coded levels of all frames of all processes, for a calibration."""

    full_state_update = False
    probabilities: list[Tensor] | Tensor
    present: list[Tensor] | Tensor
    levels: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("probabilities", "present", "levels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, present: Tensor, levels: Tensor) -> None:
        """Add a batch of logits, presence and coded levels, each (B, A)."""
        for name, value in (("probabilities", logits.sigmoid()), ("present", present), ("levels", levels)):
            getattr(self, name).append(value)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the arguments of :meth:`.calibration.Calibration.fit`: probabilities, presence, levels, all (N, A)."""
        names = ("probabilities", "present", "levels")
        probabilities, present, levels = (dim_zero_cat(getattr(self, name)) for name in names)
        return probabilities, present, levels
