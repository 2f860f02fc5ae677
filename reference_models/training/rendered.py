"""Synthetic faces, rendered, aligned and compared with their neutral frames once, and kept in memory for a run."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

import attnzoo
from attnzoo import DIFFERENCE_THRESHOLDS
from attnzoo.files import write_atomically
from reference_models.data.records import Record
from reference_models.data.synthetic import Shot
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.difference import Pixels, binary_maps, difference
from reference_models.faces.given import GivenDetector
from reference_models.faces.images import RGBImage
from reference_models.preparation.recipe import Recipe as Preparation
from reference_models.preparation.steps import align

Faces = dict[str, tuple[RGBImage, Pixels | None]]
"""Name of a record's picture to the aligned face and its grey difference, None if none is asked for."""
_LARGER = 1.25  # a frame is rendered larger than the aligned face, which is cut out of it


class RenderedFaces:
    """The faces of shots as the pictures of a :class:`~reference_models.data.FaceDataset`.

    Args:
        shots: Who does what.
        preparation: How the faces are aligned, and whether they have difference maps.
        thresholds: Grey levels of the maps.
        told: Is called with the number of shots done, now and then.
        workers: Processes that render; as many as there are cores by default.
        kept: Folder in which what was rendered is kept, for whoever asks for the same again; None keeps it in memory
            alone.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        preparation: Preparation,
        *,
        thresholds: Sequence[float] = DIFFERENCE_THRESHOLDS,
        told: Callable[[int], None] | None = None,
        workers: int | None = None,
        kept: Path | None = None,
    ) -> None:
        self.records: tuple[Record, ...] = tuple(shot.record() for shot in shots)
        self.thresholds = tuple(thresholds)
        path = None if kept is None else kept / f"faces-{_name(shots, preparation)}.npz"
        if path is not None and path.exists():
            self._faces = _read(path, self.records)
        else:
            workers = (os.cpu_count() or 1) if workers is None else workers
            self._faces = self._rendered(shots, preparation, workers, told)
            if path is not None:
                _write(path, self._faces)

    def _rendered(
        self, shots: Sequence[Shot], preparation: Preparation, workers: int, told: Callable[[int], None] | None
    ) -> Faces:
        rendering = DataLoader(
            _Rendering(shots, preparation),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
        )
        faces: Faces = {}
        for record, face in zip(self.records, rendering, strict=True):
            faces[record.image] = face
            if told is not None:
                told(len(faces))
        return faces

    def image(self, record: Record) -> RGBImage:
        """Return the aligned face (size, size, 3), uint8."""
        return self._faces[record.image][0]

    def neutral(self, record: Record) -> RGBImage:
        """Return the person's aligned resting face (size, size, 3), uint8.

        Raises:
            ValueError: If it is not among the shots.
        """
        if record.neutral not in self._faces:
            raise ValueError(f"the neutral frame of {record.key} is not among the shots")
        return self._faces[record.neutral][0]

    def maps(self, record: Record) -> Pixels | None:
        """Return the difference maps (K, size, size), uint8 0 and 1; None if the preparation makes none."""
        levels = self._faces[record.image][1]
        return None if levels is None else binary_maps(levels, self.thresholds)


@dataclass(frozen=True)
class _Rendering(Dataset[Any]):
    shots: Sequence[Shot]
    preparation: Preparation
    _at_rest: dict[Shot, AlignedFace] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> tuple[RGBImage, Pixels | None]:
        shot = self.shots[index]
        face = self._aligned(shot)
        if not self.preparation.difference:
            return face.image, None
        margin, relative = self.preparation.mask_margin, self.preparation.mask_relative
        return face.image, difference(self._neutral(shot.neutral), face, margin=margin, relative=relative).levels

    def _neutral(self, shot: Shot) -> AlignedFace:
        """Return a resting face; the last one is kept, for the frames that follow have it in common."""
        if shot not in self._at_rest:
            self._at_rest.clear()
            self._at_rest[shot] = self._aligned(shot)
        return self._at_rest[shot]

    def _aligned(self, shot: Shot) -> AlignedFace:
        picture = shot.take(round(self.preparation.size * _LARGER))
        (face,) = GivenDetector(picture.landmarks).detect(picture.image)
        return align(self.preparation, picture.image, face)


def _as_it_is(face: tuple[RGBImage, Pixels | None]) -> tuple[RGBImage, Pixels | None]:
    return face


def _name(shots: Sequence[Shot], preparation: Preparation) -> str:
    """Return what decides the pixels, as a hash."""
    return hashlib.sha256(repr((attnzoo.__version__, tuple(shots), preparation)).encode()).hexdigest()[:16]


def _write(path: Path, faces: Faces) -> None:
    levels = [level for _, level in faces.values() if level is not None]
    buffer = io.BytesIO()
    np.savez(buffer, images=np.stack([image for image, _ in faces.values()]), levels=np.array(levels, dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _read(path: Path, records: Sequence[Record]) -> Faces:
    with np.load(path, allow_pickle=False) as file:
        images, levels = file["images"], file["levels"]
    return {record.image: (images[row], levels[row] if len(levels) else None) for row, record in enumerate(records)}
