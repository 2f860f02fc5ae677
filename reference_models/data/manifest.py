"""The manifest of a comparison: its frames, labels and folds in a small JSON file with a hash.

Two results are comparable only if their manifests have the same hash. The file contains the names of subjects and a
digest of the records, but no paths, so that it can be published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from attnzoo.files import write_atomically
from reference_models.data.folds import Fold, Selection
from reference_models.data.labels import Labels
from reference_models.data.records import Record
from reference_models.data.tree import DataError

FORMAT = "reference-models folds 1"
MAX_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Manifest:
    """The data of a comparison.

    Attributes:
        dataset: Name of the dataset's layout.
        labels: Labels of each frame, in order.
        threshold: Level from which an action unit counts as present; None for expressions.
        selection: Side on which the best epoch is chosen.
        folds: The folds.
        frames: Number of records.
        digest: SHA-256 of the records, independent of their order.
    """

    dataset: str
    labels: Labels
    threshold: int | None
    selection: Selection
    folds: tuple[Fold, ...]
    frames: int
    digest: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, atomically.

        Raises:
            OSError: If the file cannot be written.
        """
        content = {"sha256": self.fingerprint, **self._content()}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())

    def check(self, records: Sequence[Record]) -> None:
        """Check that the manifest was made from these records.

        Raises:
            DataError: If it was made from others.
        """
        if len(records) != self.frames or digest(records) != self.digest:
            what = "other labels or paths" if len(records) == self.frames else f"{self.frames:,} frames"
            raise DataError(f"the manifest was made of {what}, and here are {len(records):,} of {self.dataset}")

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "labels": asdict(self.labels),
            "threshold": self.threshold,
            "selection": self.selection,
            "frames": self.frames,
            "digest": self.digest,
            "folds": [{side: sorted(groups) for side, groups in asdict(fold).items()} for fold in self.folds],
        }


def digest(records: Iterable[Record]) -> str:
    """Return the SHA-256 of all fields of the records, paths included, independent of the records' order."""
    lines = sorted(json.dumps(asdict(record), sort_keys=True) for record in records)
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def make_manifest(
    dataset: str,
    records: Sequence[Record],
    labels: Labels,
    folds: Sequence[Fold],
    *,
    threshold: int | None = None,
    selection: Selection = "validation",
) -> Manifest:
    """Return the manifest of a comparison.

    Raises:
        ValueError: If a side is empty, or a group is on two sides of a fold; with ``select-on-test``, unless the
            validation side equals the test side.
    """
    manifest = Manifest(dataset, labels, threshold, selection, tuple(folds), len(records), digest(records))
    _check_folds(manifest)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        DataError: If the file cannot be read, is not a manifest, is inconsistent, or was changed after it was written.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise DataError(f"{path} is larger than the {MAX_BYTES:,} bytes that are read")
    try:
        content = json.loads(raw)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"{path} is no manifest of folds")
        manifest = Manifest(
            dataset=str(content["dataset"]),
            labels=Labels.from_json(json.dumps(content["labels"])),
            threshold=content["threshold"],
            selection=content["selection"],
            folds=tuple(
                Fold(**{side: frozenset(map(str, groups)) for side, groups in f.items()}) for f in content["folds"]
            ),
            frames=content["frames"],
            digest=content["digest"],
        )
        _check_folds(manifest)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged: {error}") from error
    if content.get("sha256") != manifest.fingerprint:
        raise DataError(f"{path} was changed after it was written: its hash is not that of its content")
    return manifest


def _check_folds(manifest: Manifest) -> None:
    if manifest.selection not in get_args(Selection):
        raise ValueError(f"selection must be one of {', '.join(get_args(Selection))}, got {manifest.selection!r}")
    if not manifest.folds:
        raise ValueError("folds must not be empty")
    for number, fold in enumerate(manifest.folds, start=1):
        if not (fold.train and fold.validation and fold.test):
            raise ValueError(f"fold {number} has an empty side")
        on_test = manifest.selection == "select-on-test"
        if on_test != (fold.validation == fold.test):
            raise ValueError(f"fold {number} does not fit the selection {manifest.selection!r}")
        both = fold.train & (fold.validation | fold.test) | (frozenset() if on_test else fold.validation & fold.test)
        if both:
            raise ValueError(f"fold {number} has {', '.join(sorted(both)[:5])} on two sides")
