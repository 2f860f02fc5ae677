"""Reads a dataset by the name of its layout: how its files are named and arranged."""

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
    """A dataset in the form in which its owners publish it.

    Attributes:
        name: Key of the layout.
        title: Name of the dataset.
        read: Reads a tree into records, and adds missing or unexpected files to the tree's findings.
        labels: Labels that the paper on this dataset uses, in its order; None if there is no paper.
        threshold: Level from which that paper counts an action unit as present; None for expressions.
        paper: Name of that paper's network; None if there is none.
    """

    name: str
    title: str
    read: Callable[..., list[Record]]
    labels: Labels | None
    threshold: int | None
    paper: str | None


@dataclass(frozen=True)
class Reading:
    """The result of reading a copy of a dataset.

    Attributes:
        layout: Layout of the dataset.
        root: Folder of the copy.
        records: The usable frames.
        findings: Missing, damaged or unexpected files and labels.
    """

    layout: Layout
    root: Path
    records: tuple[Record, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """Number of findings that make frames or labels unusable."""
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
        ValueError: If there is no layout of that name.
    """
    if name not in _LAYOUTS:
        raise ValueError(f"name must be one of {', '.join(list_layouts())}, got {name!r}")
    return _LAYOUTS[name]


def read(name: str, root: str | Path, *, incomplete: bool = False, **options: Any) -> Reading:
    """Read a user's copy of a dataset: the labels and the paths of their pictures. No picture is opened.

    Args:
        name: One of :func:`list_layouts`.
        root: Folder of the copy.
        incomplete: Whether to accept a copy with missing or damaged files; unusable frames are left out and reported in
            ``findings``.
        **options: Options of the layout's reader, such as ``camera`` for DISFA.

    Raises:
        DataError: If the root cannot be listed, or the copy has errors and ``incomplete`` is false.
        TypeError: If the layout's reader has no such option.
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
