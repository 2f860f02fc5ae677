"""How the papers draw frames: TRA-Net by the weight of their units, LLA-Net by leaving out what repeats."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from reference_models.checks import positive_int
from reference_models.data.records import Record

LLA_NET_EVERY: Mapping[str, int] = MappingProxyType({"neutral": 12, "happiness": 2})
"""Of a run of these expressions, every how many frames LLA-Net keeps."""
LLA_NET_EXTRA: Mapping[str, int] = MappingProxyType({"anger": 24_242, "disgust": 5_062, "fear": 6_192})
"""How many frames LLA-Net adds from other datasets, Table II."""


def au_weights(targets: Tensor, *, neutral: float = 1.0) -> Tensor:
    """Return the probability with which TRA-Net draws each frame.

    The paper: a weight for each positive label, and frames drawn by it. Read as: first a unit is drawn, all alike, then
    one of the frames that show it, all alike. A frame's probability is the sum over its units of 1 / (frames with that
    unit), normalised. Frames without any unit, of which the paper does not speak, count as one more unit.

    Args:
        targets: 0 or 1, (N, A).
        neutral: How often the frames without any unit are drawn compared with one unit; 0 leaves them out.

    Returns:
        Probabilities (N,), float64, with sum 1. Units that no frame shows are passed over.

    Raises:
        ValueError: If ``targets`` is no such matrix, ``neutral`` is negative, or nothing can be drawn.
    """
    if targets.dim() != 2 or not bool(((targets == 0) | (targets == 1)).all()):
        raise ValueError(f"targets must be 0 or 1 in shape (N, A), got shape {tuple(targets.shape)}")
    if not neutral >= 0:
        raise ValueError(f"neutral must be at least 0, got {neutral}")
    positive = targets.to(torch.float64)
    idle = (positive.sum(1, keepdim=True) == 0).to(torch.float64)
    counts = positive.sum(0).clamp(min=1)
    weights = (positive / counts).sum(1) + neutral * (idle / idle.sum().clamp(min=1)).squeeze(1)
    if not bool(weights.sum() > 0):
        raise ValueError("targets must have at least one frame that can be drawn")
    return weights / weights.sum()


def tra_net_sampler(
    targets: Tensor, *, batch_size: int = 64, batches: int = 100, generator: torch.Generator | None = None
) -> WeightedRandomSampler:
    """Return TRA-Net's sampler: ``batches`` times ``batch_size`` frames an epoch, drawn with :func:`au_weights`.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, or the targets do not fit.
    """
    count = positive_int("batch_size", batch_size) * positive_int("batches", batches)
    weights: Sequence[float] = au_weights(targets).tolist()
    return WeightedRandomSampler(weights, count, replacement=True, generator=generator)


def undersample(records: Iterable[Record], every: Mapping[str, int] = LLA_NET_EVERY) -> list[Record]:
    """Keep every k-th frame of each run of frames with one expression, the first one included.

    A run is frames of one sequence whose numbers follow each other and whose expression is the same; a frame that is
    missing, or has no label, ends it.

    Args:
        records: Frames of videos, those of a sequence in order.
        every: Expression to k; expressions that are not named are kept whole.

    Raises:
        TypeError: If a k is no integer.
        ValueError: If a k is below 1.
    """
    for name, step in every.items():
        positive_int(f"every[{name!r}]", step)
    kept: list[Record] = []
    previous: Record | None = None
    place = 0
    for record in records:
        continues = (
            previous is not None
            and record.frame == previous.frame + 1
            and record.expression == previous.expression
            and record.sequence == previous.sequence
        )
        place = place + 1 if continues else 0
        previous = record
        if place % every.get(record.expression or "", 1) == 0:
            kept.append(record)
    return kept


def supplement(
    sources: Sequence[Sequence[Record]], extra: Mapping[str, int] = LLA_NET_EXTRA, *, seed: int = 0
) -> list[list[Record]]:
    """Draw frames of rare expressions from other datasets.

    Of each expression as many as possible come from the first source, the rest from the next: LLA-Net takes AffectNet,
    and RAF-DB for disgust alone, of which AffectNet has too few. Within a source they are drawn at random.

    Args:
        sources: Records of each dataset.
        extra: Expression to number of frames.
        seed: Of what is drawn.

    Returns:
        The drawn records of each source, in their order there.

    Raises:
        ValueError: If the sources together do not have enough of an expression; the message says how many there are.
    """
    drawn: list[set[int]] = [set() for _ in sources]
    for name, wanted in extra.items():
        remaining = positive_int(f"extra[{name!r}]", wanted)
        for number, source in enumerate(sources):
            candidates = [index for index, record in enumerate(source) if record.expression == name]
            chosen = random.Random(f"{name} {number} {seed}").sample(candidates, min(remaining, len(candidates)))  # noqa: S311
            drawn[number].update(chosen)
            remaining -= len(chosen)
        if remaining:
            raise ValueError(f"extra asks for {wanted:,} frames of {name}, and the sources have {wanted - remaining:,}")
    return [
        [record for index, record in enumerate(source) if index in chosen]
        for source, chosen in zip(sources, drawn, strict=True)
    ]
