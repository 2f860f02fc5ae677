"""Calibration: turns outputs for action units into presence and levels, fitted on the validation side only.

Scores after calibration do not depend on the threshold and scale that a network happens to use. For each unit, with
outputs p (a network's probabilities, or the predictions of a regression) and coded levels l:

    present    where p >= t, with t the value of p that gives the best F1 on the validation side
    level      a + b p, the least squares fit of l on the validation side

The test side is not used. Networks and baselines are calibrated by the same rule.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """The fitted values, one for each action unit.

    Attributes:
        thresholds: The unit is present where the output is at least this; infinity if no frame showed the unit.
        slopes: Slope b of the level over the output.
        offsets: Level a at output 0.
    """

    thresholds: tuple[float, ...]
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]

    @classmethod
    def fit(cls, outputs: Tensor, present: Tensor, levels: Tensor) -> Calibration:
        """Fit a calibration.

        Args:
            outputs: Outputs (N, A), finite.
            present: Presence (N, A), 0 or 1.
            levels: Coded levels (N, A), 0 to 5; NaN where a unit was not scored.
        """
        outputs, levels = outputs.double(), levels.double()
        slopes, offsets = _lines(outputs, levels)
        thresholds = [_best_threshold(output, shown) for output, shown in zip(outputs.T, present.T, strict=True)]
        return cls(tuple(thresholds), tuple(slopes.tolist()), tuple(offsets.tolist()))

    @classmethod
    def from_plain(cls, plain: Any) -> Calibration:
        """Return the calibration from the plain values of :meth:`plain`.

        Raises:
            KeyError: If a value is missing.
            TypeError: If ``plain`` or one of its values has the wrong type.
        """
        return cls(*(tuple(float(value) for value in plain[name]) for name in ("thresholds", "slopes", "offsets")))

    def plain(self) -> dict[str, Any]:
        """Return the calibration as plain values for JSON."""
        return asdict(self)

    def scores(self, outputs: Tensor, present: Tensor, levels: Tensor) -> dict[str, Tensor]:
        """Return the scores ``icc`` and ``f1_tuned``, means over the units, of another side.

        A unit that is present in no frame has no F1, and a unit without variation no ICC; the means leave them out.

        Args:
            outputs: Outputs (N, A), finite.
            present: Presence (N, A), 0 or 1.
            levels: Coded levels (N, A); NaN where a unit was not scored.
        """
        from reference_models.training.agreement import IntraclassCorrelation  # needs the extra `train`

        predicted = outputs.double() >= torch.tensor(self.thresholds, dtype=torch.float64, device=outputs.device)
        shown = present > 0
        hits, count = (predicted & shown).sum(0).double(), (predicted.sum(0) + shown.sum(0)).double()
        f1 = torch.where(shown.any(0), 2 * hits / count.clamp(min=1), torch.nan)
        slopes, offsets = (
            torch.tensor(values, dtype=torch.float64, device=outputs.device) for values in (self.slopes, self.offsets)
        )
        agreement = IntraclassCorrelation(len(self.slopes)).to(outputs.device)
        agreement.update(outputs.double() * slopes + offsets, levels.double())
        return {"icc": agreement.compute().nanmean(), "f1_tuned": f1.nanmean()}


def _lines(outputs: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return slopes and offsets (A,) of each unit's least squares line; slope 0 and the mean for constant outputs."""
    scored = ~levels.isnan()
    count = scored.sum(0).clamp(min=1)
    x, y = torch.where(scored, outputs, 0.0), torch.where(scored, levels, 0.0)
    mean_x, mean_y = x.sum(0) / count, y.sum(0) / count
    centred = torch.where(scored, x - mean_x, 0.0)
    squares = centred.square().sum(0)
    slopes = torch.where(squares > 0, (centred * y).sum(0) / squares.clamp(min=1e-300), 0.0)
    return slopes, mean_y - slopes * mean_x


def _best_threshold(outputs: Tensor, present: Tensor) -> float:
    """Return the threshold on ``outputs`` (N,) with the best F1 for ``present`` (N,); infinity without positives."""
    order = outputs.argsort(descending=True, stable=True)
    values, hits = outputs[order], (present[order] > 0).double().cumsum(0)
    if hits[-1] == 0:
        return float("inf")
    f1 = 2 * hits / (torch.arange(1, len(outputs) + 1, device=outputs.device) + hits[-1])
    last = torch.ones_like(values, dtype=torch.bool)
    last[:-1] = values[1:] != values[:-1]  # a threshold cannot separate equal outputs
    return float(values[torch.where(last, f1, -1.0).argmax()])
