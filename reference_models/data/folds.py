"""Subject-exclusive folds: which subjects are trained on, which choose the best epoch, and which are scored.

The papers choose the best epoch on the same fold that they report, which makes the scores optimistic. Here the epoch is
chosen on subjects taken from the training folds, unless ``select-on-test`` is requested.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from reference_models.checks import one_of, positive_int
from reference_models.data.records import Record

Selection = Literal["validation", "select-on-test"]
Side = Literal["train", "validation", "test"]
SHARE = 1 / 6
"""Fraction of the training subjects that becomes the validation side: 3 of DISFA's 18."""

PRINTED: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        # The three parts published with JAA-Net, used by most later work on DISFA; TRA-Net prints none.
        "disfa": (
            ("SN001", "SN002", "SN009", "SN010", "SN016", "SN026", "SN027", "SN030", "SN032"),
            ("SN006", "SN011", "SN012", "SN013", "SN018", "SN021", "SN024", "SN028", "SN031"),
            ("SN003", "SN004", "SN005", "SN007", "SN008", "SN017", "SN023", "SN025", "SN029"),
        ),
        # CEDNN, Table 1.
        "disfa+": (("SN027", "SN010", "SN007"), ("SN013", "SN025", "SN003"), ("SN009", "SN001", "SN004")),
    }
)


def group_of(record: Record) -> str:
    """Return the group of a record, which is never on two sides: its subject, or the frame if that is unknown."""
    return record.subject or record.key


@dataclass(frozen=True)
class Fold:
    """One division of a dataset.

    Attributes:
        train: Groups (subjects) of the training side.
        validation: Groups of the validation side; the same as ``test`` with ``select-on-test``.
        test: Groups of the test side.
    """

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]

    def side(self, records: Iterable[Record], side: Side) -> list[Record]:
        """Return the records of one side, in their order.

        Raises:
            ValueError: If ``side`` is not ``train``, ``validation`` or ``test``.
        """
        one_of("side", side, ("train", "validation", "test"))
        groups: frozenset[str] = getattr(self, side)
        return [record for record in records if group_of(record) in groups]


def make_folds(
    dataset: str,
    records: Sequence[Record],
    *,
    selection: Selection = "validation",
    count: int = 3,
    share: float = SHARE,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """Return a dataset's folds: the printed ones, else the published split, else a random division.

    DISFA and DISFA+ have printed folds. RAF-DB, Aff-Wild2 and AffectNet have a published split, which makes one fold;
    its test side is the published test set, or the validation set if the test set's labels are not published. CK+
    and other datasets are divided by subject into ``count`` parts with about the same number of frames.

    Args:
        dataset: Name of the dataset's layout.
        records: The usable records of the dataset.
        selection: Side on which the best epoch is chosen.
        count: Number of parts of a random division.
        share: Fraction of the training groups that becomes the validation side, between 0 and 1.
        seed: Seed of a random division and of the validation side.

    Raises:
        TypeError: If ``count`` is not an integer.
        ValueError: If an argument is not allowed, or the records lack subjects of the printed folds or have others.
    """
    one_of("selection", selection, ("validation", "select-on-test"))
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    if not records:
        raise ValueError("records must not be empty")
    splits = {record.split for record in records}
    if dataset in PRINTED:
        parts = [frozenset(part) for part in PRINTED[dataset]]
        _check_complete(dataset, parts, records)
    elif None not in splits:
        return (_published(records, selection, share, seed),)
    else:
        parts = _drawn_parts(records, positive_int("count", count), seed)
    folds = []
    for test in parts:
        pool = frozenset[str]().union(*(part for part in parts if part is not test))
        folds.append(_fold(pool, test, selection, share, seed))
    return tuple(folds)


def _fold(pool: frozenset[str], test: frozenset[str], selection: Selection, share: float, seed: int) -> Fold:
    if selection == "select-on-test":
        return Fold(train=pool, validation=test, test=test)
    if len(pool) < 2:
        raise ValueError(f"a validation side needs at least two training subjects, got {sorted(pool)}")
    drawn = random.Random(f"validation {seed}").sample(sorted(pool), max(1, round(share * len(pool))))  # noqa: S311
    return Fold(train=pool - set(drawn), validation=frozenset(drawn), test=test)


def _published(records: Sequence[Record], selection: Selection, share: float, seed: int) -> Fold:
    sides = {
        split: frozenset(group_of(r) for r in records if r.split == split) for split in ("train", "validation", "test")
    }
    test = sides["test"] or sides["validation"]
    if not sides["train"] or not test:
        raise ValueError("records must have a published training side and a validation or test side")
    if both := sides["train"] & (sides["validation"] | sides["test"]):
        raise ValueError(f"records must have each subject on one published side, and {sorted(both)[:5]} are on two")
    if sides["test"] and sides["validation"] and selection == "validation":
        return Fold(sides["train"], sides["validation"], test)
    return _fold(sides["train"], test, selection, share, seed)


def _drawn_parts(records: Sequence[Record], count: int, seed: int) -> list[frozenset[str]]:
    """Divide the subjects into parts: in descending number of frames, each to the part with the fewest so far."""
    sizes = Counter(map(group_of, records))
    if not 2 <= count <= len(sizes):
        raise ValueError(f"count must be from 2 to the number of subjects, {len(sizes)}, got {count}")
    order = sorted(sizes)
    random.Random(f"folds {seed}").shuffle(order)  # noqa: S311 - a division that can be repeated, no secret
    parts: list[set[str]] = [set() for _ in range(count)]
    frames = [0] * count
    for group in sorted(order, key=lambda each: -sizes[each]):
        smallest = min(range(count), key=lambda part: (frames[part], len(parts[part])))
        parts[smallest].add(group)
        frames[smallest] += sizes[group]
    return [frozenset(part) for part in parts]


def _check_complete(dataset: str, parts: Sequence[frozenset[str]], records: Sequence[Record]) -> None:
    needed, present = frozenset[str]().union(*parts), {record.subject for record in records}
    if missing := sorted(needed - present):
        raise ValueError(f"the folds of {dataset} need {', '.join(missing)}, of whom there is no record")
    if unknown := sorted(present - needed):
        raise ValueError(f"the folds of {dataset} do not say where {', '.join(unknown)} belongs")
