"""A face in a photograph, what finds faces, and which face is meant where there is none or more than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from attnzoo.checks import one_of
from reference_models.choices import NoFacePolicy, Policy
from reference_models.faces.geometry import Points
from reference_models.faces.point_sets import select

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Outcome = Literal["one", "largest", "no face", "several"]
OUTCOMES: tuple[Outcome, ...] = ("one", "largest", "no face", "several")
"""What can be said of a photograph: one face; several, of which the largest was taken; skipped for want of a face;
skipped for having several."""


class NoFaceError(ValueError):
    """No face was found where one is needed."""


class SeveralFacesError(ValueError):
    """More than one face was found where exactly one is wanted."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photograph.

    Attributes:
        box: Left, top, right, bottom of the detector's box in pixels of the photograph.
        points: Landmarks (N, 2), N one of 5, 49, 66 and 68, float64, in pixels of the photograph.
        score: The detector's confidence; with dlib above 0 is a detection, and a clear frontal face has 1 or more. None
            where the landmarks were given.
    """

    box: Box
    points: Points
    score: float | None = None

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    @property
    def five(self) -> Points:
        """The five points of dlib's small model, taken from the larger set where that was found."""
        return select(self.points, 5)


class Detector(Protocol):
    """What finds the faces of a photograph.

    :class:`~reference_models.faces.landmarks.DlibDetector` looks for them;
    :class:`~reference_models.faces.given.GivenDetector` returns landmarks that are known.
    """

    def detect(self, image: NDArray[Any]) -> list[Face]:
        """Return the faces of an image (H, W), (H, W, 3) or (H, W, 4), largest first."""
        ...


@dataclass(frozen=True, eq=False)
class Choice:
    """Which face of a photograph is meant.

    Attributes:
        face: The face, or None if the photograph is skipped.
        outcome: How it was chosen or why it is skipped, for counting.
    """

    face: Face | None
    outcome: Outcome


def choose(
    faces: Sequence[Face], *, policy: Literal["largest", "raise"] = "largest", name: str = "the photograph"
) -> Face:
    """Return the one face that is meant, where there must be one.

    Args:
        faces: What a detector found.
        policy: With several faces, ``largest`` takes the one with the largest box and ``raise`` refuses.
        name: What the photograph is called in the messages.

    Raises:
        NoFaceError: If there is no face.
        SeveralFacesError: If there are several and ``policy`` is ``raise``.
        ValueError: If ``policy`` is unknown.
    """
    one_of("policy", policy, ("largest", "raise"))
    if not faces:
        raise NoFaceError(f"no face was found in {name}")
    if policy == "raise" and len(faces) > 1:
        raise SeveralFacesError(f"{len(faces)} faces were found in {name}, where exactly one is wanted")
    return max(faces, key=lambda face: face.area)


def decide(
    faces: Sequence[Face],
    *,
    no_face: NoFacePolicy = "skip",
    several: Policy = "largest",
    name: str = "the photograph",
) -> Choice:
    """Return the one face that is meant, or that the photograph is skipped, and why.

    Args:
        faces: What a detector found.
        no_face: Without any face, ``skip`` returns a choice without one and ``raise`` refuses.
        several: With more than one face, ``largest`` takes the one with the largest box; ``skip`` and ``raise`` as
            above.
        name: What the photograph is called in the messages.

    Raises:
        NoFaceError: If there is no face and ``no_face`` is ``raise``.
        SeveralFacesError: If there are several and ``several`` is ``raise``.
        ValueError: If a policy is unknown.
    """
    one_of("no_face", no_face, ("raise", "skip"))
    one_of("several", several, ("largest", "raise", "skip"))
    if not faces and no_face == "skip":
        return Choice(None, "no face")
    if len(faces) > 1 and several == "skip":
        return Choice(None, "several")
    face = choose(faces, policy="raise" if several == "raise" else "largest", name=name)
    return Choice(face, "one" if len(faces) == 1 else "largest")
