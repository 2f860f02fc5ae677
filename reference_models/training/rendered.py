"""Synthetic faces, rendered, aligned and compared with their neutral frames once, and kept in memory for a run.

They are aligned by the landmarks that dlib finds on them, beginning at the exact ones, as those of a photograph will
be: what a network learns from frames that stand exactly where they should is lost by the errors of a detector.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from torch.utils.data import DataLoader, Dataset

import reference_models
from attnzoo.files import whole
from reference_models.data.cache import make_room, used
from reference_models.data.records import Record
from reference_models.data.synthetic import Shot
from reference_models.faces.alignment import AlignedFace
from reference_models.faces.difference import Pixels
from reference_models.faces.given import GivenDetector
from reference_models.faces.images import RGBImage
from reference_models.faces.landmarks import points_from
from reference_models.faces.point_sets import select
from reference_models.preparation.preparation import Preparation, software
from reference_models.processors import cores

Faces = dict[str, tuple[RGBImage, Pixels | None]]
"""Name of a record's picture to the aligned face and its grey difference, None if none is asked for."""
PHOTOGRAPH = 224
"""Side in pixels of the pictures that faces are cut out of, as ``reference-models synth`` writes them.

A camera's noise and blur belong to its pixels: they are smaller in a face that is reduced from a larger picture, and a
network that was trained on faces rendered at their final size finds other difference maps in photographs.
"""
_LARGER = 1.25
"""Side of the picture, at least, in units of the aligned face that is cut out of it."""


class RenderedFaces:
    """The faces of shots as the pictures of a :class:`~reference_models.data.FaceDataset`.

    Args:
        shots: Who does what.
        preparation: What is made of each face.
        told: Is called with the number of shots done, now and then.
        workers: Processes that render; as many as there are processors by default.
        side: Side of the pictures in pixels; :data:`PHOTOGRAPH`, or 1.25 times the face if that is larger, by default.
        kept: Folder in which what was rendered is kept, for whoever asks for the same again, within the limits of
            :mod:`reference_models.data.cache`; None keeps it in memory alone.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        preparation: Preparation,
        *,
        told: Callable[[int], None] | None = None,
        workers: int | None = None,
        side: int | None = None,
        kept: Path | None = None,
    ) -> None:
        side = side or max(PHOTOGRAPH, round(preparation.size * _LARGER))
        self.records: tuple[Record, ...] = tuple(shot.record() for shot in shots)
        self.preparation = preparation
        path = None if kept is None else kept / f"faces-{_name(shots, preparation, side)}.npz"
        kept_faces = None if path is None else _read(path, self.records)
        if kept_faces is not None:
            self._faces = kept_faces
            return
        rendering = _Rendering(shots, preparation, side)
        self._faces = self._rendered(rendering, cores() if workers is None else workers, told)
        if path is not None:
            _write(path, self._faces)

    def _rendered(self, rendering: _Rendering, workers: int, told: Callable[[int], None] | None) -> Faces:
        loader = DataLoader(
            rendering,
            batch_size=None,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # without batches it is called with a sample
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
        )
        faces: Faces = {}
        for record, face in zip(self.records, loader, strict=True):
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
        return None if levels is None else self.preparation.maps(levels)


@dataclass(frozen=True)
class _Rendering(Dataset[Any]):
    shots: Sequence[Shot]
    preparation: Preparation
    side: int
    _at_rest: dict[Shot, AlignedFace] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> tuple[RGBImage, Pixels | None]:
        shot = self.shots[index]
        face = self._aligned(shot)
        if not self.preparation.difference:
            return face.image, None
        return face.image, self.preparation.levels(self._neutral(shot.neutral), face)

    def _neutral(self, shot: Shot) -> AlignedFace:
        """Return a resting face; the last one is kept, for the frames that follow have it in common."""
        if shot not in self._at_rest:
            self._at_rest.clear()
            self._at_rest[shot] = self._aligned(shot)
        return self._at_rest[shot]

    def _aligned(self, shot: Shot) -> AlignedFace:
        picture = shot.take(self.side)
        points = points_from(picture.image, select(picture.landmarks, 5))
        return self.preparation.frame(picture.image, GivenDetector(points).detect(picture.image)[0])


def _as_it_is(face: tuple[RGBImage, Pixels | None]) -> tuple[RGBImage, Pixels | None]:
    return face


def _name(shots: Sequence[Shot], preparation: Preparation, side: int) -> str:
    """Return what decides the pixels, as a hash; the thresholds of the maps do not."""
    made_of = (_made_by(), tuple(shots), preparation.pixels(), side)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


@cache
def _made_by() -> str:
    """Return a hash of the renderer and of what aligns faces: its sources and its head."""
    package = Path(reference_models.__file__).parent
    files = [path for part in ("data/synthetic", "faces", "preparation") for path in (package / part).iterdir()]
    total = hashlib.sha256(json.dumps(software()).encode())
    for path in sorted(file for file in files if file.suffix in {".py", ".npz", ".json"}):
        total.update(path.read_bytes())
    return total.hexdigest()


def _write(path: Path, faces: Faces) -> None:
    """Keep faces for the next time, if the cache has room for them and can be written."""
    images = np.stack([image for image, _ in faces.values()])
    levels = np.array([level for _, level in faces.values() if level is not None], dtype=np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if make_room(path, images.nbytes + levels.nbytes):
            with whole(path, ending="") as draft, draft.open("wb") as file:
                np.savez(file, images=images, levels=levels)
    except OSError:  # a cache that is full, or closed to writing, keeps nobody from training
        return


def _read(path: Path, records: Sequence[Record]) -> Faces | None:
    """Return the faces that were kept; None if there are none, or the file is damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            images, levels = file["images"], file["levels"]
        used(path)
    except (OSError, ValueError, LookupError, BadZipFile):
        return None
    if len(images) != len(records):
        return None
    return {record.image: (images[row], levels[row] if len(levels) else None) for row, record in enumerate(records)}
