"""ICC(3,1), the agreement of predicted and coded intensity levels.

P. E. Shrout, J. L. Fleiss, "Intraclass Correlations: Uses in Assessing Rater Reliability", Psychological Bulletin
86(2), 1979: ICC(3,1) = (BMS - EMS) / (BMS + (k - 1) EMS). BMS and EMS are the mean squares between targets and of the
residual in a two-way analysis of variance; the k = 2 judges are the network and the coder. With centred sums S this
equals 2 S_xy / (S_xx + S_yy).

Differences from the paper: none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class IntraclassCorrelation(Metric):
    """ICC(3,1) of each action unit, over all frames of all processes.

    Sums are kept in float64 and added over processes, so that the division into batches has no effect.

    Args:
        num_units: Number of action units A.
        **options: Options of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If ``num_units`` is below 1.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    sums: Tensor

    def __init__(self, num_units: int, **options: Any) -> None:
        super().__init__(**options)
        if num_units < 1:
            raise ValueError(f"num_units must be at least 1, got {num_units}")
        self.num_units = num_units
        self.add_state("sums", torch.zeros(6, num_units, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, levels: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: Predicted levels (B, A), finite.
            levels: Coded levels (B, A); NaN where a unit was not scored: the frame does not count for that unit.

        Raises:
            ValueError: If a shape does not fit, or a prediction is not finite.
        """
        if predicted.shape != levels.shape or predicted.dim() != 2 or predicted.shape[1] != self.num_units:
            raise ValueError(
                f"predicted and levels must have shape (B, {self.num_units}), "
                f"got {tuple(predicted.shape)} and {tuple(levels.shape)}"
            )
        if not bool(predicted.isfinite().all()):
            raise ValueError("predicted must be finite, got NaN or infinity")
        scored = ~levels.isnan()
        x = torch.where(scored, predicted.double(), 0.0)
        y = torch.where(scored, levels.double(), 0.0)
        self.sums += torch.stack([scored.double(), x, y, x * x, y * y, x * y]).sum(1)

    def compute(self) -> Tensor:
        """Return ICC(3,1) of each unit (A,), float64, -1 to 1; NaN if both predictions and levels are constant."""
        count, x, y, xx, yy, xy = self.sums
        count = count.clamp(min=1)
        varies = xx - x * x / count + (yy - y * y / count)
        # The centred sum of squares of a constant differs from zero by rounding only.
        constant = varies <= 1e-12 * (xx + yy)
        return torch.where(constant, torch.nan, 2 * (xy - x * y / count) / varies)
