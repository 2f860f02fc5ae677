"""Scores of the papers by their definitions, frame by frame, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def f1(predicted: Tensor, target: Tensor) -> list[float]:
    """F1 of each column by precision and recall; NaN where a column has no positive."""
    values = []
    for column in range(target.shape[1]):
        pairs = [(bool(p), bool(t)) for p, t in zip(predicted[:, column], target[:, column], strict=True)]
        hits = sum(p and t for p, t in pairs)
        said = sum(p for p, _ in pairs)
        there = sum(t for _, t in pairs)
        if there == 0:
            values.append(float("nan"))
        elif hits == 0:
            values.append(0.0)
        else:
            precision, recall = hits / said, hits / there
            values.append(2 * precision * recall / (precision + recall))
    return values


def icc31(predicted: Tensor, levels: Tensor) -> float:
    """ICC(3,1) of two judges by a two-way analysis of variance (Shrout and Fleiss, 1979)."""
    table = torch.stack([predicted.double(), levels.double()], dim=1)
    targets, judges = table.shape
    grand = table.mean()
    between = judges * ((table.mean(1) - grand) ** 2).sum() / (targets - 1)
    residual = table - table.mean(1, keepdim=True) - table.mean(0, keepdim=True) + grand
    error = (residual**2).sum() / ((targets - 1) * (judges - 1))
    return float((between - error) / (between + (judges - 1) * error))
