"""Prepared faces in the place of a dataset's own pictures."""

from __future__ import annotations

from pathlib import Path

from reference_models.data import Record
from reference_models.faces.difference import Pixels
from reference_models.faces.images import RGBImage
from reference_models.preparation.items import PreparationError, named
from reference_models.preparation.plan import item_of
from reference_models.preparation.preparation import Preparation
from reference_models.preparation.prepared import Prepared, PreparedFace


class PreparedPictures:
    """The pictures of a :class:`~reference_models.data.FaceDataset`, as ``reference-models prepare`` has written them.

    Args:
        folder: The folder of the results.
        preparation: What the network takes; its thresholds make the difference maps.

    Raises:
        PreparationError: If the folder holds no finished preparation, a damaged one, or faces that were prepared in
            another way.
    """

    def __init__(self, folder: str | Path, preparation: Preparation) -> None:
        self.faces = Prepared(folder)
        self.faces.check(preparation)
        self.preparation = preparation

    def has(self, record: Record) -> bool:
        """Return whether the record has a face, and its difference if the network takes one; leave out the others."""
        name = item_of(record).name
        return name in self.faces and (not self.preparation.difference or self.faces.has_levels(name))

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
        """Return the difference maps (K, size, size), uint8 0 and 1; None if the network takes none.

        Raises:
            PreparationError: If the record was not prepared, or without its neutral frame.
        """
        if not self.preparation.difference:
            return None
        face = self._face(item_of(record).name)
        if face.levels is None:
            raise PreparationError(f"{item_of(record).name} was prepared without a neutral frame")
        return self.preparation.maps(face.levels)

    def _face(self, name: str) -> PreparedFace:
        if name not in self.faces:
            raise PreparationError(f"{name} has no prepared face: {self.faces.failures.get(name, 'none was found')}")
        return self.faces[name]
