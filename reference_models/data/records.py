"""What a dataset says of one frame, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reference_models.data.labels import Labels

PRESENT = -1
"""Level of an action unit that is there but whose intensity nobody scored, as CK+ has it."""

Split = Literal["train", "validation", "test"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled frame.

    Paths are relative to the dataset's root, with ``/``. A frame inside a video is the video's path and ``frame``.

    Attributes:
        image: Path of the photograph, or of the video that holds it.
        subject: Whom it shows; frames of one subject never stand on two sides of a split. Empty if nobody knows.
        sequence: The recording it belongs to; unique within the dataset.
        frame: Its number in the recording, counted as the dataset's own annotation does.
        units: The action units that were coded, in the order of ``levels``; empty if none were.
        levels: Intensity of each, 0 (absent) to 5 (E, maximum), or :data:`PRESENT`.
        expression: Name of the expression, one of :data:`~reference_models.data.labels.EXPRESSIONS` or ``contempt``;
            None if it was not labelled.
        split: The side that the dataset's authors put it on; None if they publish no split.
        neutral: Path of the subject's resting face, None if there is none.
        neutral_frame: Number of that frame, if ``neutral`` is a video.
        landmarks: Path of the file with its landmarks, None if there is none that can be trusted.
        box: Left, top, right, bottom of the face in whole pixels, if the photograph must be cropped to it.
    """

    image: str
    subject: str
    sequence: str
    frame: int
    units: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    expression: str | None = None
    split: Split | None = None
    neutral: str | None = None
    neutral_frame: int | None = None
    landmarks: str | None = None
    box: Box | None = None

    @property
    def key(self) -> str:
        """Name of the frame, unique within its dataset, for manifests and caches."""
        return f"{self.sequence}/{self.frame}"

    def has(self, labels: Labels) -> bool:
        """Return whether everything that ``labels`` ask is known of the frame."""
        if labels.task == "expressions":
            return self.expression in labels.names
        return set(labels.units) <= set(self.units)

    def level(self, unit: int) -> int:
        """Return the intensity of an action unit.

        Raises:
            ValueError: If that unit was not coded.
        """
        if unit not in self.units:
            raise ValueError(f"unit must be one of {self.units}, which were coded in {self.key}, got {unit}")
        return self.levels[self.units.index(unit)]
