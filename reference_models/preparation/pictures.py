"""Prepared faces in the place of a dataset's own pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attnzoo import DIFFERENCE_THRESHOLDS
from reference_models.data import Record
from reference_models.faces.difference import Pixels
from reference_models.faces.images import RGBImage
from reference_models.preparation.items import PreparationError, named
from reference_models.preparation.plan import item_of
from reference_models.preparation.prepared import Prepared, PreparedFace


class PreparedPictures:
    """The pictures of a :class:`~reference_models.data.FaceDataset`, as ``reference-models prepare`` has written them.

    Args:
        folder: The folder of the results.
        thresholds: Grey levels of the difference maps.

    Raises:
        PreparationError: If the folder holds no finished preparation, or a damaged one.
    """

    def __init__(self, folder: str | Path, *, thresholds: Sequence[float] = DIFFERENCE_THRESHOLDS) -> None:
        self.faces = Prepared(folder)
        self.thresholds = tuple(thresholds)

    def has(self, record: Record) -> bool:
        """Return whether a face was found for the record; the records for which it was not must be left out."""
        return item_of(record).name in self.faces

    def image(self, record: Record) -> RGBImage:
        """Return the aligned face (size, size, 3), uint8.

        Raises:
            PreparationError: If it was not prepared.
        """
        return self._face(item_of(record).name).image

    def neutral(self, record: Record) -> RGBImage:
        """Return the subject's resting face, aligned (size, size, 3), uint8.

        Raises:
            PreparationError: If the record has none, or it was not prepared.
        """
        item = item_of(record)
        if item.neutral is None:
            raise PreparationError(f"{item.name} has no neutral frame")
        return self._face(named(item.neutral, item.neutral_frame)).image

    def maps(self, record: Record) -> Pixels | None:
        """Return the difference maps (K, size, size), uint8 0 and 1; None if there is no difference to a neutral frame.

        Raises:
            PreparationError: If the record was not prepared.
        """
        face = self._face(item_of(record).name)
        return None if face.levels is None else face.maps(self.thresholds)

    def _face(self, name: str) -> PreparedFace:
        if name not in self.faces:
            raise PreparationError(f"{name} has no prepared face: {self.faces.failures.get(name, 'none was found')}")
        return self.faces[name]
