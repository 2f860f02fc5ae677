"""Faces and their landmarks, found by dlib: the HOG detector and the predictors of 5 and of 68 points.

The predictors' files are those of the installed package ``face_recognition_models``. The 68-point model was trained on
the iBUG 300-W data, whose terms exclude commercial use; the 5-point model was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reference_models.extras import data_file, load
from reference_models.faces.geometry import Points, inverse, move, similarity, warp
from reference_models.faces.images import RGBImage, as_rgb

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Policy = Literal["largest", "raise"]

FIVE_FROM_68 = (45, 42, 36, 39, 33)
"""Numbers among 68 of dlib's five: outer and inner corner of the subject's left eye, of the right eye, nose base."""
NOSE_ROOT, NOSE_TIP, CHIN = 27, 30, 8
"""68-point numbers, counted from 0; DISFA's 66 points have the same."""

CHIP_TEMPLATE: Points = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""Where dlib's face chips put the five points, as fractions of the chip without padding (its get_face_chip_details)."""

_MODEL_FILES = MappingProxyType(
    {5: "models/shape_predictor_5_face_landmarks.dat", 68: "models/shape_predictor_68_face_landmarks.dat"}
)
_DETECTOR_SIDE = 1280
_FACE_SIDE = 240
_CHIP_SIDE = 480
# dlib's detector box in units of the chip template, measured on the astronaut: the predictor expects such a box.
_CHIP_BOX = np.array([[-0.10, 0.00], [1.04, 1.03]])


class NoFaceError(ValueError):
    """No face was found where one is needed."""


class SeveralFacesError(ValueError):
    """More than one face was found where exactly one is wanted."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photograph.

    Attributes:
        box: Left, top, right, bottom of the detector's box in pixels of the photograph.
        points: Landmarks (5, 2) or (68, 2), float64, in pixels of the photograph.
        score: The detector's confidence; above 0 is a detection, and a clear frontal face has 1 or more.
    """

    box: Box
    points: Points
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    @property
    def five(self) -> Points:
        """The five points of dlib's small model, taken from the 68 where those were found."""
        return five_points(self.points)


def five_points(points: Points) -> Points:
    """Return dlib's five points (5, 2) from 5, 66 or 68."""
    return points if len(points) == len(FIVE_FROM_68) else points[list(FIVE_FROM_68)]


def detect(
    image: NDArray[Any],
    *,
    points: Literal[5, 68] = 68,
    min_score: float = 0.2,
    refine: int = 2,
    model: str | Path | None = None,
) -> list[Face]:
    """Find the faces of a photograph.

    The detector sees the photograph at 1280 pixels at most, and once more at twice its size (2560 at most) if it finds
    nothing, which reaches faces from about 40 pixels. The predictor then sees the face turned upright and enlarged,
    ``refine`` times, each time starting from its last answer: its points move with the photograph under rotation and
    scaling, and are no longer whole pixels.

    Args:
        image: Pixels (H, W), (H, W, 3) or (H, W, 4); see :func:`~reference_models.faces.images.as_rgb`.
        points: Number of landmarks, 5 or 68.
        min_score: Detections below this confidence are left out.
        refine: How often the landmarks are found anew on the upright face; 0 is dlib's plain result.
        model: A predictor file of that many points, instead of the installed one.

    Returns:
        The faces, largest first; an empty list if there is none.

    Raises:
        MissingExtraError: If the extra ``faces`` is not installed.
        TypeError: If ``image`` is no array of pixels.
        ValueError: If ``points`` is neither 5 nor 68, ``refine`` is negative, or the model does not fit.
    """
    if points not in _MODEL_FILES:
        raise ValueError(f"points must be one of {', '.join(map(str, _MODEL_FILES))}, got {points!r}")
    if refine < 0:
        raise ValueError(f"refine must be at least 0, got {refine}")
    pixels = as_rgb(image)
    predictor = _predictor(points, None if model is None else Path(model))
    faces = []
    for box, score in _boxes(pixels, min_score):
        face = Face(box, _first_points(pixels, box, predictor), score)
        if len(face.points) != points:
            raise ValueError(f"model must predict {points} points, but {model} predicts {len(face.points)}")
        for _ in range(refine):
            face = replace(face, points=_points_upright(pixels, face.five, predictor))
        faces.append(face)
    return sorted(faces, key=lambda face: face.area, reverse=True)


def choose(faces: Sequence[Face], *, policy: Policy = "largest", name: str = "the photograph") -> Face:
    """Return the one face that is meant.

    Args:
        faces: What :func:`detect` found.
        policy: With several faces, ``largest`` takes the one with the largest box and ``raise`` refuses.
        name: What the photograph is called in the messages.

    Raises:
        NoFaceError: If there is no face.
        SeveralFacesError: If there are several and ``policy`` is ``raise``.
        ValueError: If ``policy`` is unknown.
    """
    if policy not in {"largest", "raise"}:
        raise ValueError(f"policy must be one of 'largest', 'raise', got {policy!r}")
    if not faces:
        raise NoFaceError(f"no face was found in {name}")
    if policy == "raise" and len(faces) > 1:
        raise SeveralFacesError(f"{len(faces)} faces were found in {name}, where exactly one is wanted")
    return max(faces, key=lambda face: face.area)


def _dlib() -> Any:
    return load("dlib", package="dlib-bin", extra="faces")


@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _predictor(points: int, model: Path | None) -> Any:
    # The package is only asked for its folder: importing it needs pkg_resources, which setuptools no longer has.
    path = model or data_file(
        "face_recognition_models", _MODEL_FILES[points], package="face_recognition_models", extra="faces"
    )
    try:
        return _dlib().shape_predictor(str(path))
    except RuntimeError as error:
        raise ValueError(f"model must be a dlib shape predictor, and {path} is none: {error}") from error


def _boxes(pixels: RGBImage, min_score: float) -> list[tuple[Box, float]]:
    side = max(pixels.shape[:2])
    for scale in (min(1.0, _DETECTOR_SIDE / side), min(2.0, 2 * _DETECTOR_SIDE / side)):
        boxes, scores, _ = _detector().run(_scaled(pixels, scale), 0, min_score)
        if boxes:
            return [
                ((box.left() / scale, box.top() / scale, box.right() / scale, box.bottom() / scale), float(score))
                for box, score in zip(boxes, scores, strict=True)
            ]
    return []


def _scaled(pixels: RGBImage, scale: float) -> RGBImage:
    if scale == 1:
        return pixels
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    scaled: RGBImage = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return scaled


def _first_points(pixels: RGBImage, box: Box, predictor: Any) -> Points:
    left, top, right, bottom = (round(edge) for edge in box)
    return _as_array(predictor(pixels, _dlib().rectangle(left, top, right, bottom)))


def _points_upright(pixels: RGBImage, five: Points, predictor: Any) -> Points:
    """Return the landmarks found on the face turned upright, with 240 pixels for dlib's box, in the photograph."""
    to_chip = similarity(five, CHIP_TEMPLATE * _FACE_SIDE + (_CHIP_SIDE - _FACE_SIDE) / 2)
    chip = warp(pixels, to_chip, _CHIP_SIDE, _CHIP_SIDE)
    (left, top), (right, bottom) = (_CHIP_BOX * _FACE_SIDE + (_CHIP_SIDE - _FACE_SIDE) / 2).round().astype(int).tolist()
    found = _as_array(predictor(chip, _dlib().rectangle(left, top, right, bottom)))
    return move(inverse(to_chip), found)


def _as_array(shape: Any) -> Points:
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
