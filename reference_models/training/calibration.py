"""From what a network says of action units to present or absent, and to levels: fitted on the validation side alone.

A score that knows neither threshold nor scale compares what is learnt and not how it happens to be expressed. For each
unit, with outputs p (probabilities of a network, or whatever a regression says) and coded levels l:

    present    where p >= t, with t the value of p on the validation side that gives the best F1 there
    level      a + b p, the least squares fit of l on the validation side

The test side has no part in it. The same rule serves the baselines.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """What was fitted, a value for each unit.

    Attributes:
        thresholds: Output from which the unit is present.
        slopes: Levels for each unit of output.
        offsets: Level at output 0.
    """

    thresholds: tuple[float, ...]
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]

    @classmethod
    def fit(cls, outputs: Tensor, present: Tensor, levels: Tensor) -> Calibration:
        """Return the calibration that fits best.

        Args:
            outputs: (N, A), finite.
            present: (N, A), 0 or 1.
            levels: (N, A), 0 to 5; NaN where nobody scored one.
        """
        outputs, levels = outputs.double(), levels.double()
        slopes, offsets = _lines(outputs, levels)
        thresholds = [_best_threshold(said, there) for said, there in zip(outputs.T, present.T, strict=True)]
        return cls(tuple(thresholds), tuple(slopes.tolist()), tuple(offsets.tolist()))

    @classmethod
    def from_plain(cls, plain: Any) -> Calibration:
        """Return what :meth:`plain` wrote.

        Raises:
            KeyError: If a value is missing.
            TypeError: If it is nothing of the kind.
        """
        return cls(*(tuple(float(value) for value in plain[name]) for name in ("thresholds", "slopes", "offsets")))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    def scores(self, outputs: Tensor, present: Tensor, levels: Tensor) -> dict[str, Tensor]:
        """Return ``icc`` and ``f1_tuned``, means over the units, of outputs (N, A) on another side.

        A unit that no frame shows has no F1, and one that does not vary no ICC: the mean is that of the others.
        """
        from reference_models.training.agreement import IntraclassCorrelation  # needs the extra `train`

        said = outputs.double() >= torch.tensor(self.thresholds, dtype=torch.float64, device=outputs.device)
        there = present > 0
        hits, count = (said & there).sum(0).double(), (said.sum(0) + there.sum(0)).double()
        f1 = torch.where(there.any(0), 2 * hits / count.clamp(min=1), torch.nan)
        slopes, offsets = (
            torch.tensor(values, dtype=torch.float64, device=outputs.device) for values in (self.slopes, self.offsets)
        )
        agreement = IntraclassCorrelation(len(self.slopes)).to(outputs.device)
        agreement.update(outputs.double() * slopes + offsets, levels.double())
        return {"icc": agreement.compute().nanmean(), "f1_tuned": f1.nanmean()}


def _lines(outputs: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and offset (A,) of the least squares line of each unit; 0 and the mean where outputs do not vary."""
    scored = ~levels.isnan()
    count = scored.sum(0).clamp(min=1)
    x, y = torch.where(scored, outputs, 0.0), torch.where(scored, levels, 0.0)
    mean_x, mean_y = x.sum(0) / count, y.sum(0) / count
    away = torch.where(scored, x - mean_x, 0.0)
    varies = away.square().sum(0)
    slopes = torch.where(varies > 0, (away * y).sum(0) / varies.clamp(min=1e-300), 0.0)
    return slopes, mean_y - slopes * mean_x


def _best_threshold(said: Tensor, there: Tensor) -> float:
    """Return the value of ``said`` (N,) with the best F1 against ``there`` (N,); infinity where none is there."""
    order = said.argsort(descending=True, stable=True)
    values, hits = said[order], (there[order] > 0).double().cumsum(0)
    if hits[-1] == 0:
        return float("inf")
    f1 = 2 * hits / (torch.arange(1, len(said) + 1, device=said.device) + hits[-1])
    last = torch.ones_like(values, dtype=torch.bool)
    last[:-1] = values[1:] != values[:-1]  # equal outputs are present together or not at all
    return float(values[torch.where(last, f1, -1.0).argmax()])
