"""What a network says of all frames, gathered over batches and processes."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Outputs(Metric):
    """Probabilities, presence and levels of all frames of all processes."""

    full_state_update = False
    said: list[Tensor] | Tensor
    present: list[Tensor] | Tensor
    levels: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("said", "present", "levels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, present: Tensor, levels: Tensor) -> None:
        """Take a batch in: all (B, A)."""
        for name, value in (("said", logits.sigmoid()), ("present", present), ("levels", levels)):
            getattr(self, name).append(value)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what :meth:`~reference_models.training.calibration.Calibration.fit` takes, each (N, A)."""
        said, present, levels = (dim_zero_cat(getattr(self, name)) for name in ("said", "present", "levels"))
        return said, present, levels
