"""The record of a labelled frame: its path and labels, without pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reference_models.data.labels import Labels

PRESENT = -1
"""Level of an action unit that is present but whose intensity was not scored, as in CK+."""

Split = Literal["train", "validation", "test"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled frame.

    Paths are relative to the dataset's root, with ``/``. For a frame of a video, ``image`` is the path of the video.

    Attributes:
        image: Path of the photograph, or of the video that contains the frame.
        subject: The person it shows; frames of one subject are never on two sides of a split. Empty if unknown.
        sequence: Name of its recording, unique within the dataset.
        frame: Its number in the recording, counted as in the dataset's annotation.
        units: The coded action units, in the order of ``levels``; empty if none were coded.
        levels: Intensity of each coded unit, 0 (absent) to 5 (E, maximum), or :data:`PRESENT`.
        expression: Name of the expression, one of :data:`~reference_models.data.labels.EXPRESSIONS` or ``contempt``;
            None if it was not labelled.
        split: Side of the published split; None if there is none.
        neutral: Path of a photograph or video with the subject's neutral face; None if there is none.
        neutral_frame: Number of the neutral frame, if ``neutral`` is a video.
        landmarks: Path of its landmark file; None if there is none, or it is known to be wrong.
        box: Left, top, right, bottom of the face in whole pixels, to which the photograph is cropped; None for no crop.
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
        """Name of the frame, unique within its dataset: sequence and frame number."""
        return f"{self.sequence}/{self.frame}"

    def has(self, labels: Labels) -> bool:
        """Return whether the frame has all labels: all action units coded, or one of the expressions."""
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
