"""The faces of a replicate: rendered once, by the first process that needs them, and stored in one file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

import attnzoo
from attnzoo.files import write_atomically
from reference_models.data.folds import make_folds
from reference_models.data.labels import Labels
from reference_models.data.manifest import make_manifest
from reference_models.data.records import Record
from reference_models.data.synthetic import plan
from reference_models.preparation.preparation import Preparation
from reference_models.training.recipes import Recipe
from reference_models.training.rendered import RenderedFaces

Pixels = NDArray[np.uint8]


class StoredFaces:
    """Faces read from a file, as the pictures of a :class:`~reference_models.data.FaceDataset`.

    Args:
        records: Record of each face, in the order of the file.
        images: (N, S, S, 3), uint8.
        maps: Difference maps (N, K, S, S) as bits along the last axis, uint8; empty if there are none.
    """

    def __init__(self, records: Sequence[Record], images: Pixels, maps: Pixels) -> None:
        self.records = tuple(records)
        self.images, self.bits = images, maps
        self._rows = {record.image: row for row, record in enumerate(records)}

    def image(self, record: Record) -> Pixels:
        """Return the aligned face (S, S, 3), uint8."""
        face: Pixels = self.images[self._rows[record.image]]
        return face

    def neutral(self, record: Record) -> Pixels:
        """Return the person's aligned neutral face (S, S, 3), uint8.

        Raises:
            ValueError: If the neutral frame is not among the faces.
        """
        if record.neutral not in self._rows:
            raise ValueError(f"the neutral frame of {record.key} is not among the faces")
        face: Pixels = self.images[self._rows[record.neutral]]
        return face

    def maps(self, record: Record) -> Pixels | None:
        """Return the difference maps (K, S, S), uint8 with values 0 and 1; None if the file holds none."""
        if not self.bits.size:
            return None
        return np.unpackbits(self.bits[self._rows[record.image]], axis=-1, count=self.images.shape[2])


LARGER = 1.25
"""Side of a rendered picture in units of the aligned face, which is cut out of it."""
SMALLEST = 96
"""Least side in pixels: dlib finds landmarks worse in smaller pictures. Both are small for the sweep's sake."""


@dataclass(frozen=True)
class Population:
    """The persons of a replicate and the preparation of their faces.

    Attributes:
        kind: ``frames`` or ``portraits``, see :func:`reference_models.data.synthetic.plan`.
        identities: Number of persons.
        frames: Number of expressive frames, or portraits, of each person.
        seed: Seed from which persons and expressions are drawn.
        preparation: Alignment and difference maps of each face.
    """

    kind: str
    identities: int
    frames: int
    seed: int
    preparation: Preparation

    @classmethod
    def of(cls, recipe: Recipe, *, identities: int, frames: int, seed: int) -> Population:
        """Return the population for a recipe: frames for action units, portraits for expressions."""
        kind = "frames" if recipe.labels.task == "action units" else "portraits"
        return cls(kind, identities, frames, seed, recipe.faces)

    def records(self) -> tuple[Record, ...]:
        """Return a record with person, picture and labels for every face."""
        return _records(self.kind, self.identities, self.frames, self.seed)

    def fingerprint(self, labels: Labels, threshold: int | None, fold: int) -> str:
        """Return the hash of the division into sides, equal to ``Sides.fingerprint`` of a run on this fold."""
        return f"{_manifest(self.kind, self.identities, self.frames, self.seed, labels, threshold)}/{fold}"

    def faces(self, folder: Path, *, workers: int) -> StoredFaces:
        """Return the faces; render and store them first if the folder does not hold them.

        Args:
            folder: Folder of the stored faces.
            workers: Number of rendering processes; 0 renders in this process.

        Raises:
            OSError: If the folder cannot be written.
            filelock.Timeout: If another process is rendering the same faces.
        """
        return _loaded(self, folder, workers)


@lru_cache(maxsize=64)
def _records(kind: str, identities: int, frames: int, seed: int) -> tuple[Record, ...]:
    return tuple(shot.record() for shot in plan(kind, identities=identities, frames=frames, seed=seed))


@lru_cache(maxsize=256)
def _manifest(kind: str, identities: int, frames: int, seed: int, labels: Labels, threshold: int | None) -> str:
    records = [record for record in _records(kind, identities, frames, seed) if record.has(labels)]
    return make_manifest(
        "synthetic", records, labels, make_folds("synthetic", records), threshold=threshold, selection="validation"
    ).fingerprint


@lru_cache(maxsize=1)
def _loaded(population: Population, folder: Path, workers: int) -> StoredFaces:
    content = asdict(population) | {"attnzoo": attnzoo.__version__}
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    if not path.exists():
        _render(population, path, workers)
    with np.load(path, allow_pickle=False) as file:
        return StoredFaces(population.records(), file["images"], file["maps"])


def _render(population: Population, path: Path, workers: int) -> None:
    with FileLock(path.with_suffix(".lock"), timeout=0):
        if path.exists():
            return
        shots = plan(population.kind, identities=population.identities, frames=population.frames, seed=population.seed)
        side = max(SMALLEST, round(population.preparation.size * LARGER))
        faces = RenderedFaces(shots, population.preparation, workers=workers, side=side)
        maps = [bits for record in faces.records if (bits := faces.maps(record)) is not None]
        buffer = io.BytesIO()
        np.savez(
            buffer,
            images=np.stack([faces.image(record) for record in faces.records]),
            maps=np.packbits(np.stack(maps), axis=-1) if maps else np.empty(0, np.uint8),
        )
        write_atomically(path, buffer.getvalue())
