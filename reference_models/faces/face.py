"""Detected faces, the interface of detectors, and the choice of one face when there is none or more than one."""

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
"""Outcomes for a photograph: one face; several, of which the largest was taken; skipped because it has none; skipped
because it has several."""


class NoFaceError(ValueError):
    """No face was found in a photograph that must have one."""


class SeveralFacesError(ValueError):
    """More than one face was found in a photograph that must have exactly one."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photograph.

    Attributes:
        box: Left, top, right, bottom of the detector's box in pixels of the photograph.
        points: Landmarks (N, 2), N one of 5, 49, 66 and 68, float64, (x, y) in pixels of the photograph.
        score: The detector's confidence; for dlib detections are above 0, and a clear frontal face has 1 or more. None
            if the landmarks come from a file.
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
        """The five points (5, 2) of dlib's small model, selected from ``points``."""
        return select(self.points, 5)


class Detector(Protocol):
    """Interface of face detectors.

    Implemented by :class:`~reference_models.faces.landmarks.DlibDetector`,
    :class:`~reference_models.faces.mtcnn.MtcnnDetector`, and
    :class:`~reference_models.faces.given.GivenDetector`, which returns known landmarks.
    """

    def detect(self, image: NDArray[Any]) -> list[Face]:
        """Return the faces of an image (H, W), (H, W, 3) or (H, W, 4), largest first."""
        ...


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen face of a photograph.

    Attributes:
        face: The face; None if the photograph is skipped.
        outcome: How it was chosen, or why the photograph is skipped; one of :data:`OUTCOMES`.
    """

    face: Face | None
    outcome: Outcome


def choose(
    faces: Sequence[Face], *, policy: Literal["largest", "raise"] = "largest", name: str = "the photograph"
) -> Face:
    """Return one of the detected faces; raise an error if there is none.

    Args:
        faces: The detected faces.
        policy: For several faces: ``largest`` takes the one with the largest box, ``raise`` raises an error.
        name: Name of the photograph in messages.

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
    """Choose one of the detected faces, or skip the photograph.

    Args:
        faces: The detected faces.
        no_face: Without a face: ``skip`` returns a choice whose face is None, ``raise`` raises an error.
        several: For several faces: ``largest`` takes the one with the largest box; ``skip`` and ``raise`` as above.
        name: Name of the photograph in messages.

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
