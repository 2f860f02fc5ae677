"""Threshold, scale and the scores by them, against values found by trying everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score

from reference_models.training.calibration import Calibration
from reference_models.training.outputs import Outputs
from tests.oracles.scores import icc31


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 6, (200, 3), generator=generator).double()
    outputs = (levels / 8 + 0.3 * torch.rand(200, 3, generator=generator, dtype=torch.float64)).round(decimals=2)
    return outputs, (levels >= 2).float(), levels


def test_the_threshold_is_the_best_of_all_and_the_line_that_of_scikit_learn():
    outputs, present, levels = drawn(0)
    found = Calibration.fit(outputs, present, levels)
    for unit in range(3):
        said, there = outputs[:, unit].numpy(), present[:, unit].numpy()
        best = max(f1_score(there, said >= threshold) for threshold in np.unique(said))
        assert f1_score(there, said >= found.thresholds[unit]) == best
        line = LinearRegression().fit(said[:, None], levels[:, unit].numpy())
        assert found.slopes[unit] == pytest.approx(line.coef_[0], rel=1e-12)
        assert found.offsets[unit] == pytest.approx(line.intercept_, rel=1e-12)


def test_the_scores_on_another_side_are_those_of_scikit_learn_and_of_the_oracle():
    fitted = Calibration.fit(*drawn(0))
    outputs, present, levels = drawn(1)
    scores = fitted.scores(outputs, present, levels)
    slopes, offsets, thresholds = (np.array(v) for v in (fitted.slopes, fitted.offsets, fitted.thresholds))
    predicted = torch.from_numpy(outputs.numpy() * slopes + offsets)
    expected = np.mean([icc31(predicted[:, unit], levels[:, unit]) for unit in range(3)])
    assert float(scores["icc"]) == pytest.approx(expected, rel=1e-12)
    said = outputs.numpy() >= thresholds
    assert float(scores["f1_tuned"]) == pytest.approx(f1_score(present.numpy(), said, average="macro"), rel=1e-12)


def test_what_nobody_scored_does_not_count_and_a_unit_that_never_shows_has_no_threshold():
    outputs, present, levels = drawn(0)
    unknown = torch.where(torch.arange(200)[:, None] % 2 == 0, torch.nan, levels)
    present[:, 2] = 0
    half, all_of_it = (
        Calibration.fit(outputs, present, unknown),
        Calibration.fit(outputs[1::2], present[1::2], levels[1::2]),
    )
    assert half.slopes == pytest.approx(all_of_it.slopes, rel=1e-12)
    assert half.offsets == pytest.approx(all_of_it.offsets, rel=1e-12)
    assert half.thresholds[2] == float("inf")
    assert Calibration.from_plain(half.plain()) == half


def test_outputs_are_probabilities_in_the_order_of_the_batches():
    outputs = Outputs()
    for start in (0.0, 2.0):
        logits = torch.tensor([[start], [start + 1]])
        outputs.update(logits, (logits > 1).float(), logits * 2)
    said, present, levels = outputs.compute()
    assert torch.equal(said, torch.arange(4.0)[:, None].sigmoid())
    assert present.flatten().tolist() == [0, 0, 1, 1]
    assert levels.flatten().tolist() == [0, 2, 4, 6]
