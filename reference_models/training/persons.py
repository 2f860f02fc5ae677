"""Who was trained on, as hashes that a model file carries: nobody is scored whom the network knows.

A hash stands for a person of a population, such as "SN001 of DISFA", and for a picture where a dataset does not say
whom it shows. It does not give a name away that is not guessed first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from reference_models.data.folds import group_of
from reference_models.data.records import Record

Persons = Mapping[str, Collection[str]]
"""Side (``train``, ``validation``, ``test``) to the hashes of its persons."""

_SAME_PEOPLE = {"disfa+": "disfa"}
"""Datasets with the same persons under the same names as another: DISFA+ filmed nine of DISFA's again."""
_DIGITS = 12


class KnownPersonsError(ValueError):
    """A network was trained on persons that it should be scored on."""


def hashed(
    population: str, records: Iterable[Record], shown: Mapping[str, str] = MappingProxyType({})
) -> frozenset[str]:
    """Return the hashes of the persons of records.

    Args:
        population: Name of the dataset that names them.
        records: Of any number of frames.
        shown: Whom a picture shows, where the population has another name for a person than the records.
    """
    people = _SAME_PEOPLE.get(population, population)
    names = {shown.get(record.image) or group_of(record) for record in records}
    return frozenset(hashlib.sha256(f"{people}/{name}".encode()).hexdigest()[:_DIGITS] for name in names)


def check_unknown(known: Persons, scored: Collection[str]) -> None:
    """Check that a network was neither trained on persons nor had its best epoch and thresholds chosen by them.

    The persons by which it was chosen may be scored if its own test side was the same, as with ``--select-on-test``.

    Args:
        known: Sides of the network's run.
        scored: Hashes of the persons that are to be scored.

    Raises:
        KnownPersonsError: If some are known.
    """
    trained, chosen, tested = (frozenset(known.get(side, ())) for side in ("train", "validation", "test"))
    on_test = chosen == tested
    for what, side in (("was trained on", trained), ("was chosen by", frozenset() if on_test else chosen)):
        if both := side & frozenset(scored):
            raise KnownPersonsError(
                f"the network {what} {len(both):,} of the {len(scored):,} persons (or pictures) that would be scored:"
                " leave out the options by which these faces differ from those of its run, or choose other faces"
            )
