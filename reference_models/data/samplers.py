"""The papers' sampling of frames: TRA-Net's weights by action units, LLA-Net's undersampling and added frames."""

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
"""Expression to k: LLA-Net keeps every k-th frame of a run of frames with this expression."""
LLA_NET_EXTRA: Mapping[str, int] = MappingProxyType({"anger": 24_242, "disgust": 5_062, "fear": 6_192})
"""Expression to the number of frames that LLA-Net adds from other datasets, Table II."""


def au_weights(targets: Tensor, *, neutral: float = 1.0) -> Tensor:
    """Return the probability with which TRA-Net draws each frame.

    The paper gives each positive label a weight and draws frames by it. This is implemented as drawing an action unit
    uniformly, then uniformly one of the frames that show it: a frame's probability is the sum over its units of
    1 / (number of frames with that unit), normalised. Frames without any unit, which the paper does not mention, are
    treated as showing one additional unit.

    Args:
        targets: Presence (N, A), 0 or 1.
        neutral: Weight of the frames without any unit, relative to one unit; 0 leaves them out.

    Returns:
        Probabilities (N,), float64, with sum 1. Units that no frame shows are ignored.

    Raises:
        ValueError: If ``targets`` is not such a matrix, ``neutral`` is negative, or no frame can be drawn.
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
    """Return TRA-Net's sampler: ``batches`` times ``batch_size`` frames per epoch, drawn with :func:`au_weights`.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If a count is below 1, or the targets do not fit.
    """
    count = positive_int("batch_size", batch_size) * positive_int("batches", batches)
    weights: Sequence[float] = au_weights(targets).tolist()
    return WeightedRandomSampler(weights, count, replacement=True, generator=generator)


def undersample(records: Iterable[Record], every: Mapping[str, int] = LLA_NET_EVERY) -> list[Record]:
    """Keep every k-th frame of each run of frames with one expression, starting with the first.

    A run consists of consecutive frames of one sequence with the same expression; a missing or unlabelled frame ends
    it.

    Args:
        records: Frames of videos, those of a sequence in order.
        every: Expression to k; all frames of other expressions are kept.

    Raises:
        TypeError: If a k is not an integer.
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

    For each expression as many frames as possible come from the first source, the rest from the next ones. LLA-Net uses
    AffectNet, and RAF-DB only for disgust, of which AffectNet has too few. Within a source frames are drawn at random.

    Args:
        sources: Records of each dataset, in order of preference.
        extra: Expression to the number of frames.
        seed: Seed of the draw.

    Returns:
        The drawn records of each source, in their order there.

    Raises:
        ValueError: If the sources together have too few frames of an expression; the message gives their number.
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
