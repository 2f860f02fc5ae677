"""What can be learnt from synthetic faces by simple means: HOG and ridge regression, on persons never seen.

Faces are aligned by their exact landmarks. Strength of the regression and the threshold from which a unit counts as
present are chosen on persons who are neither trained nor tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score

from reference_models.data.disfa_plus import UNITS
from reference_models.data.synthetic import Shot, plan
from reference_models.faces.alignment import align_chip
from reference_models.papers.claims.hog import features, fit_ridge
from reference_models.training.agreement import IntraclassCorrelation

SIZE, CHIP = 112, 96
STRENGTHS = (10.0, 30.0, 100.0, 300.0)
THRESHOLDS = np.arange(0.4, 3.0, 0.1)
PRESENT = 2
TRAIN, VALIDATION, TEST = 150, 40, 60
FRAMES = 8

Array = NDArray[np.float64]


def face_features(shot: Shot) -> NDArray[np.float32]:
    """Return the HOG of a shot's aligned face."""
    picture = shot.take(SIZE)
    return features(align_chip(picture.image, picture.landmarks, size=CHIP).image).astype(np.float32)


def sample(shots: Sequence[Shot]) -> tuple[Array, Array, Array]:
    """Return the features of expressive frames, their differences from the neutral frame, and the levels."""
    single, difference, levels = [], [], []
    neutral = None
    for shot in shots:
        values = face_features(shot)
        if shot.frame == 0:
            neutral = values
            continue
        single.append(values)
        difference.append(values - neutral)
        levels.append([shot.levels.get(unit, 0) for unit in UNITS])
    return np.array(single), np.array(difference), np.array(levels, dtype=np.float64)


def learn() -> list[dict[str, object]]:
    """Return a row for each kind of features and each style tested on: mean ICC and mean F1 over the units."""
    known = plan("frames", identities=TRAIN + VALIDATION + TEST, frames=FRAMES)
    step = FRAMES + 1
    parts = [
        sample(known[: TRAIN * step]),
        sample(known[TRAIN * step : (TRAIN + VALIDATION) * step]),
        sample(known[(TRAIN + VALIDATION) * step :]),
        sample(plan("frames", identities=TEST, frames=FRAMES, style_name="held-out")),
    ]
    rows: list[dict[str, object]] = []
    for kind, name in enumerate(("single frames", "differences from neutral")):
        (x, y), (x_validation, y_validation) = ((part[kind], part[2]) for part in parts[:2])
        best = fit_ridge(x, y, STRENGTHS, partial(_score, x_validation, y_validation))
        thresholds = _thresholds(y_validation, best.predict(x_validation))
        for style, part in (("studio", parts[2]), ("held-out", parts[3])):
            predicted = best.predict(part[kind])
            f1 = [
                f1_score(part[2][:, unit] >= PRESENT, predicted[:, unit] >= thresholds[unit], zero_division=0.0)
                for unit in range(len(UNITS))
            ]
            rows.append(
                {
                    "HOG + ridge on": name,
                    "tested on": f"{TEST} unseen persons, {style}",
                    "mean ICC": round(_mean_icc(part[2], predicted), 3),
                    "mean F1": round(float(np.mean(f1)), 3),
                    "frames": len(part[2]),
                }
            )
    return rows


def _score(x: Array, truth: Array, model: Ridge) -> float:
    return _mean_icc(truth, model.predict(x))


def _mean_icc(truth: Array, predicted: Array) -> float:
    agreement = IntraclassCorrelation(truth.shape[1])
    agreement.update(torch.from_numpy(predicted), torch.from_numpy(truth))
    return float(agreement.compute().mean())


def _thresholds(truth: Array, predicted: Array) -> Array:
    present = truth >= PRESENT
    best = []
    for unit in range(truth.shape[1]):
        scores = [f1_score(present[:, unit], predicted[:, unit] >= t, zero_division=0.0) for t in THRESHOLDS]
        best.append(THRESHOLDS[int(np.argmax(scores))])
    return np.array(best)
