"""Prepared faces as the pictures of a dataset."""

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
    """The results of ``reference-models prepare``, as the pictures of a :class:`~reference_models.data.FaceDataset`.

    Args:
        folder: Folder of the results.
        preparation: The network's preparation; its thresholds turn differences into maps.

    Raises:
        PreparationError: If the folder holds no finished preparation, a damaged one, or one with other options.
    """

    def __init__(self, folder: str | Path, preparation: Preparation) -> None:
        self.faces = Prepared(folder)
        self.faces.check(preparation)
        self.preparation = preparation

    def has(self, record: Record) -> bool:
        """Return whether the record has a prepared face, with its difference levels if the network takes maps."""
        name = item_of(record).name
        return name in self.faces and (not self.preparation.difference or self.faces.has_levels(name))

    def image(self, record: Record) -> RGBImage:
        """Return the aligned face (size, size, 3), uint8.

        Raises:
            PreparationError: If the record has no prepared face.
        """
        return self._face(item_of(record).name).image

    def neutral(self, record: Record) -> RGBImage:
        """Return the person's aligned neutral face (size, size, 3), uint8.

        Raises:
            PreparationError: If the record has no neutral frame, or that has no prepared face.
        """
        item = item_of(record)
        if item.neutral is None:
            raise PreparationError(f"{item.name} has no neutral frame")
        return self._face(named(item.neutral, item.neutral_frame)).image

    def maps(self, record: Record) -> Pixels | None:
        """Return the difference maps (K, size, size), uint8 with values 0 and 1; None if the network takes none.

        Raises:
            PreparationError: If the record has no prepared face, or was prepared without its neutral frame.
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
