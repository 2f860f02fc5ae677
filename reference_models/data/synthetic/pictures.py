"""Synthetic faces as the pictures of a :class:`~reference_models.data.FaceDataset`, rendered on request."""

from __future__ import annotations

from collections.abc import Sequence

from reference_models.checks import positive_int
from reference_models.data.records import Record
from reference_models.data.synthetic.shots import Shot
from reference_models.faces.geometry import Points
from reference_models.faces.images import RGBImage


class SyntheticPictures:
    """The rendered pictures of shots.

    Example::

        shots = plan("frames", identities=250, frames=8)
        pictures = SyntheticPictures(shots, size=112)
        data = FaceDataset(pictures, pictures.records, Labels.of_units((1, 2, 4)), threshold=2, neutral=True)

    Args:
        shots: Shots from :func:`~reference_models.data.synthetic.plan`, all or some of them.
        size: Side of the pictures in pixels.

    Raises:
        TypeError: If ``size`` is not an int.
        ValueError: If it is below 1, or a shot occurs twice.
    """

    def __init__(self, shots: Sequence[Shot], *, size: int = 224) -> None:
        self.size = positive_int("size", size)
        self.records: tuple[Record, ...] = tuple(shot.record() for shot in shots)
        self._shots = {record.image: shot for record, shot in zip(self.records, shots, strict=True)}
        if len(self._shots) != len(shots):
            raise ValueError(
                f"shots must differ in person, session or frame, got {len(shots) - len(self._shots)} twice"
            )

    def image(self, record: Record) -> RGBImage:
        """Return the frame (size, size, 3), uint8.

        Raises:
            ValueError: If the record is not one of these shots.
        """
        return self._shot(record).take(self.size).image

    def neutral(self, record: Record) -> RGBImage:
        """Return the person's neutral face in the same session (size, size, 3), uint8.

        Raises:
            ValueError: If the record is not one of these shots.
        """
        return self._shot(record).neutral.take(self.size).image

    def landmarks(self, record: Record) -> Points:
        """Return the exact positions of dlib's 68 landmarks (68, 2) in the frame, in pixels.

        Raises:
            ValueError: If the record is not one of these shots.
        """
        return self._shot(record).take(self.size).landmarks

    def maps(self, record: Record) -> None:
        """Return None: there are no difference maps."""

    def _shot(self, record: Record) -> Shot:
        if record.image not in self._shots:
            raise ValueError(f"record must be one of the shots' records, got {record.image!r}")
        return self._shots[record.image]
