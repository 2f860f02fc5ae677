"""The layouts that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reference_models.data import aff_wild2, affect_net, ck_plus, disfa, disfa_plus, own, raf_db
from reference_models.data.labels import Labels
from reference_models.data.records import Record
from reference_models.data.tree import DataError, Finding, Tree, counted


@dataclass(frozen=True)
class Layout:
    """A dataset as its owners publish it.

    Attributes:
        name: Its key.
        title: Its name.
        read: Reads a tree into records and writes down in it what is odd.
        labels: What the paper that uses it asks of each picture, in its order; None where there is no paper.
        threshold: Level from which that paper calls an action unit present; None for expressions.
        paper: That paper's network, None where there is none.
    """

    name: str
    title: str
    read: Callable[..., list[Record]]
    labels: Labels | None
    threshold: int | None
    paper: str | None


@dataclass(frozen=True)
class Reading:
    """What was read from a copy.

    Attributes:
        layout: Its layout.
        root: Its folder.
        records: The frames that can be used.
        findings: What is missing or odd.
    """

    layout: Layout
    root: Path
    records: tuple[Record, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """Number of findings by which frames or labels are lost."""
        return counted(self.findings)["error"]


_TRA_NET = Labels.of_units((1, 2, 4, 6, 9, 12, 25, 26))

_LAYOUTS = MappingProxyType(
    {
        one.name: one
        for one in (
            Layout("disfa", "DISFA", disfa.read, _TRA_NET, 3, "tra_net"),
            Layout("disfa+", "DISFA+", disfa_plus.read, Labels.of_units(disfa_plus.UNITS), 2, "cednn"),
            Layout("ck+", "CK+", ck_plus.read, Labels.of_units(ck_plus.UNITS), 1, "cednn"),
            Layout("raf-db", "RAF-DB", raf_db.read, Labels.of_expressions(raf_db.CLASSES), None, "dba_net"),
            Layout("aff-wild2", "Aff-Wild2", aff_wild2.read, Labels.of_expressions(), None, "lla_net"),
            Layout("affectnet", "AffectNet", affect_net.read, Labels.of_expressions(), None, "lla_net"),
            Layout("own", "Data of your own", own.read, None, None, None),
        )
    }
)


def list_layouts() -> list[str]:
    """Return the names of the layouts, sorted."""
    return sorted(_LAYOUTS)


def layout(name: str) -> Layout:
    """Return a layout by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in _LAYOUTS:
        raise ValueError(f"name must be one of {', '.join(list_layouts())}, got {name!r}")
    return _LAYOUTS[name]


def read(name: str, root: str | Path, *, incomplete: bool = False, **options: Any) -> Reading:
    """Read a user's copy of a dataset: its labels and which pictures belong to them, not the pictures.

    Args:
        name: One of :func:`list_layouts`.
        root: The folder of the copy.
        incomplete: Whether a copy in which something is missing or damaged is accepted; what cannot be used is left
            out, and stands in ``findings``.
        **options: Of the layout's own reader, such as ``camera`` of DISFA.

    Raises:
        DataError: If the root cannot be listed, or the copy has errors and ``incomplete`` is false.
        TypeError: If the layout has no such option.
        ValueError: If there is no layout of that name.
    """
    chosen = layout(name)
    tree = Tree(root)
    records = chosen.read(tree, **options)
    reading = Reading(chosen, tree.root, tuple(records), tuple(tree.findings))
    if reading.errors and not incomplete:
        first = next(finding for finding in reading.findings if finding.level == "error")
        more = f" and {reading.errors - 1} more errors" if reading.errors > 1 else ""
        raise DataError(
            f"{chosen.title} in {tree.root}: {first.path}: {first.text}{more}; "
            f"see them with: reference-models check-data {name} {tree.root}"
        )
    return reading
