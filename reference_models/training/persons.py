"""Hashes of the persons of a run, stored in its model file, so that no person is both trained on and scored.

A hash identifies a person of a dataset, such as "SN001 of DISFA", or a single picture if the dataset does not say whom
it shows. A name can be confirmed from its hash, but not read from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from reference_models.data.folds import group_of
from reference_models.data.records import Record

Persons = Mapping[str, Collection[str]]
"""Name of a side (``train``, ``validation``, ``test``) to the hashes of its persons."""

_SAME_PEOPLE = {"disfa+": "disfa"}
"""Datasets with the same persons under the same names as another: DISFA+ filmed nine of DISFA's again."""
_DIGITS = 12


class KnownPersonsError(ValueError):
    """A person to be scored was in the network's training or validation side."""


def hashed(
    population: str, records: Iterable[Record], shown: Mapping[str, str] = MappingProxyType({})
) -> frozenset[str]:
    """Return the hashes of the persons of records.

    Args:
        population: Name of the dataset that the persons belong to.
        records: Records of any number of frames.
        shown: Picture to the name of its person, for pictures whose record names the person differently.
    """
    people = _SAME_PEOPLE.get(population, population)
    names = {shown.get(record.image) or group_of(record) for record in records}
    return frozenset(hashlib.sha256(f"{people}/{name}".encode()).hexdigest()[:_DIGITS] for name in names)


def check_unknown(known: Persons, scored: Collection[str]) -> None:
    """Check that no person to be scored was in the training or validation side of a network's run.

    The validation side may be scored if it was also the run's test side, as with ``--select-on-test``.

    Args:
        known: Hashes of the persons of each side of the run.
        scored: Hashes of the persons to be scored.

    Raises:
        KnownPersonsError: If a person was in one of these sides.
    """
    trained, chosen, tested = (frozenset(known.get(side, ())) for side in ("train", "validation", "test"))
    on_test = chosen == tested
    for what, side in (("was trained on", trained), ("was chosen by", frozenset() if on_test else chosen)):
        if both := side & frozenset(scored):
            raise KnownPersonsError(
                f"the network {what} {len(both):,} of the {len(scored):,} persons (or pictures) that would be scored:"
                " leave out the options by which these faces differ from those of its run, or choose other faces"
            )
