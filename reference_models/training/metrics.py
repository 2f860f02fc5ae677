"""The papers' scores: F1-frame and accuracy of action units, and the scores of LLA-Net and DBA-Net for expressions.

torchmetrics counts over all batches and processes; the scores are computed from its counts.

A unit or expression without positive frames has no F1 and no recall: its value is NaN, the mean leaves it out, and
``without_positives`` is the number of labels left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix, MultilabelStatScores

from reference_models.checks import one_of
from reference_models.data.dataset import Batch
from reference_models.data.labels import Labels

F1_SHARE, ACCURACY_SHARE = 0.67, 0.33
"""Weights in the score of the Aff-Wild2 challenge of 2020."""

Absent = Literal["leave out", "zero"]


class NotFiniteError(ValueError):
    """A network's outputs are NaN or infinite: its training overflowed."""


class UnitScores(nn.Module):
    """F1-frame and accuracy of action units.

    Args:
        labels: The units, in the order of the network's outputs.
        absent: Whether the mean F1 leaves out a unit without positives (``leave out``), or counts it as 0 as
            scikit-learn does (``zero``).

    Raises:
        ValueError: If the labels are expressions, or ``absent`` is not allowed.
    """

    def __init__(self, labels: Labels, *, absent: Absent = "leave out") -> None:
        super().__init__()
        one_of("absent", absent, ("leave out", "zero"))
        self.labels = labels
        self.absent = absent
        self.counts = MultilabelStatScores(len(labels.units), average=None, validate_args=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add a batch: logits (B, A); a unit is predicted present above 0.

        Raises:
            ValueError: If a shape does not fit, or a logit is not finite.
        """
        _check(logits, batch.target.shape, len(self.labels))
        # torchmetrics would take logits for probabilities if all of them happened to lie between 0 and 1.
        self.counts.update((logits > 0).int(), batch.target.int())

    def compute(self) -> dict[str, Tensor]:
        """Return scalars: the means ``f1`` and ``accuracy``, each unit's ``f1/AU1``, .., and ``without_positives``."""
        tp, fp, tn, fn = self._counts()
        shown = tp + fn > 0
        f1 = torch.where(shown, 2 * tp / (2 * tp + fp + fn).clamp(min=1), torch.nan)
        accuracy = (tp + tn) / (tp + fp + tn + fn)
        mean = f1.nanmean() if self.absent == "leave out" else f1.nan_to_num(0.0).mean()
        return {
            "f1": mean,
            "accuracy": accuracy.mean(),
            "without_positives": (~shown).sum().to(f1.dtype),
            **_each("f1", self.labels, f1),
            **_each("accuracy", self.labels, accuracy),
        }

    def positives(self) -> dict[str, int]:
        """Return the number of positive frames of each unit, by its name."""
        tp, _, _, fn = self._counts()
        return dict(zip(self.labels.names, (tp + fn).int().tolist(), strict=True))

    def reset(self) -> None:
        """Forget everything."""
        self.counts.reset()

    def _counts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tp, fp, tn, fn, _ = self.counts.compute().reshape(len(self.labels), 5).double().T
        return tp, fp, tn, fn


class ExpressionScores(nn.Module):
    """Accuracy, mean class accuracy, unweighted F1 and the Aff-Wild2 challenge's score of expressions.

    Args:
        labels: The expressions, in the order of the network's outputs.

    Raises:
        ValueError: If the labels are action units.
    """

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        if labels.task != "expressions":
            raise ValueError(f"labels must be those of expressions, got {labels}")
        self.labels = labels
        self.matrix = MulticlassConfusionMatrix(len(labels), validate_args=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add a batch: logits (B, classes); the largest is the prediction.

        Raises:
            ValueError: If a shape does not fit, or a logit is not finite.
        """
        _check(logits, (*batch.target.shape, len(self.labels)), len(self.labels))
        self.matrix.update(logits.argmax(1), batch.target)

    def confusion(self) -> Tensor:
        """Return the confusion matrix (classes, classes), int64: true expressions as rows, predictions as columns."""
        matrix: Tensor = self.matrix.compute()
        return matrix

    def compute(self) -> dict[str, Tensor]:
        """Return scalars.

        ``accuracy``; ``mean_class_accuracy``, the mean of the confusion matrix' normalised diagonal; ``f1``,
        unweighted; ``challenge_score`` = 0.67 f1 + 0.33 accuracy; ``accuracy/anger``, .. (the diagonal); ``f1/anger``,
        ..; ``without_positives``.
        """
        matrix = self.confusion().double()
        hits, shown, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        recall = torch.where(shown > 0, hits / shown.clamp(min=1), torch.nan)
        f1 = torch.where(shown > 0, 2 * hits / (shown + predicted).clamp(min=1), torch.nan)
        accuracy = hits.sum() / matrix.sum()
        return {
            "accuracy": accuracy,
            "mean_class_accuracy": recall.nanmean(),
            "f1": f1.nanmean(),
            "challenge_score": F1_SHARE * f1.nanmean() + ACCURACY_SHARE * accuracy,
            "without_positives": (shown == 0).sum().to(f1.dtype),
            **_each("accuracy", self.labels, recall),
            **_each("f1", self.labels, f1),
        }

    def reset(self) -> None:
        """Forget everything."""
        self.matrix.reset()


Scores = UnitScores | ExpressionScores


def scores(labels: Labels) -> Scores:
    """Return the metric for the labels: action units or expressions."""
    return UnitScores(labels) if labels.task == "action units" else ExpressionScores(labels)


def _check(logits: Tensor, shape: tuple[int, ...], count: int) -> None:
    if logits.shape != shape or logits.dim() != 2 or logits.shape[1] != count:
        raise ValueError(f"logits must have shape {(shape[0], count)}, got {tuple(logits.shape)}")
    if not bool(logits.isfinite().all()):
        raise NotFiniteError("logits must be finite, got NaN or infinity")


def _each(name: str, labels: Labels, values: Tensor) -> Mapping[str, Tensor]:
    return {f"{name}/{label}": value for label, value in zip(labels.names, values, strict=True)}
