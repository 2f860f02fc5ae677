"""Detects faces and landmarks with dlib: its HOG detector and its predictors of 5 and 68 points.

The predictors' files are those of the installed package ``face_recognition_models``. The 68-point model was trained on
the iBUG 300-W data, whose terms exclude commercial use; the 5-point model was not. For known landmarks use
:class:`~reference_models.faces.given.GivenDetector`, which does not need dlib.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attnzoo.checks import positive_int
from reference_models.extras import data_file, load
from reference_models.faces.face import Box, Choice, Face, NoFaceError, SeveralFacesError, choose, decide
from reference_models.faces.geometry import Points, as_points, inverse, move, similarity, warp
from reference_models.faces.images import RGBImage, as_rgb
from reference_models.faces.point_sets import CHIN, CHIP_TEMPLATE, FIVE_FROM_68, NOSE_ROOT, NOSE_TIP, select

__all__ = [
    "CHIN",
    "FIVE_FROM_68",
    "NOSE_ROOT",
    "NOSE_TIP",
    "Box",
    "Choice",
    "DlibDetector",
    "Face",
    "NoFaceError",
    "SeveralFacesError",
    "choose",
    "decide",
    "detect",
    "points_from",
]

_MODEL_FILES = MappingProxyType(
    {5: "models/shape_predictor_5_face_landmarks.dat", 68: "models/shape_predictor_68_face_landmarks.dat"}
)
_DETECTOR_SIDE = 1280
_FACE_SIDE = 240
_CHIP_SIDE = 480
# dlib's detector box in units of the chip template, measured on scikit-image's astronaut; the predictor expects it.
_CHIP_BOX = np.array([[-0.10, 0.00], [1.04, 1.03]])
_TURNS = (-30.0, 30.0)
# Limit of the last refinement step, the mean movement of the points over the box's width: on the astronaut, rotated by
# up to 40 degrees and scaled by 0.5 to 2, it was below 0.02 for correct landmarks and above 0.03 for wrong ones.
_CONVERGED = 0.025


def detect(
    image: NDArray[Any],
    *,
    points: Literal[5, 68] = 68,
    min_score: float = 0.2,
    refine: int = 2,
    model: str | Path | None = None,
) -> list[Face]:
    """Detect the faces of a photograph.

    The detector runs on the photograph with at most 1280 pixels per side, and, if it finds nothing, again at twice the
    size (at most 2560), which detects faces from about 40 pixels. The predictor then runs ``refine`` times on the face
    rotated upright and enlarged, each time from its last landmarks: so the landmarks follow a rotation or scaling of
    the photograph, and are not limited to whole pixels. If they do not converge, as for rotations above about 30
    degrees, the refinement is repeated from the box rotated to either side, and the best converged result is returned.

    Args:
        image: Pixels (H, W), (H, W, 3) or (H, W, 4); see :func:`~reference_models.faces.images.as_rgb`.
        points: Number of landmarks, 5 or 68.
        min_score: Lowest confidence of a detection.
        refine: Number of times that the landmarks are refined on the upright face; 0 returns dlib's plain result.
        model: Path of a predictor for that number of points; None uses the installed one.

    Returns:
        The faces, largest first; an empty list if there is none.

    Raises:
        MissingExtraError: If the extra ``faces`` is not installed.
        TypeError: If ``image`` is not an array of pixels.
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
        first = _first_points(pixels, box, predictor)
        if len(first) != points:
            raise ValueError(f"model must predict {points} points, but {model} predicts {len(first)}")
        faces.append(Face(box, _refined(pixels, box, first, predictor, refine), score))
    return sorted(faces, key=lambda face: face.area, reverse=True)


def points_from(image: NDArray[Any], five: ArrayLike, *, refine: int = 2) -> Points:
    """Return dlib's 68 landmarks (68, 2) of a face from approximate five points, such as those of another detector.

    Args:
        image: Pixels (H, W), (H, W, 3) or (H, W, 4).
        five: dlib's five points (5, 2), accurate to about a tenth of the face.
        refine: Number of times that the landmarks are found on the upright face, from the last result; at least 1.

    Raises:
        MissingExtraError: If the extra ``faces`` is not installed.
        TypeError: If ``image`` is not an array of pixels.
        ValueError: If there are not five finite points, or ``refine`` is below 1.
    """
    points = as_points("five", five, (5,))
    pixels, predictor = as_rgb(image), _predictor(68, None)
    for _ in range(positive_int("refine", refine)):
        points = _points_upright(pixels, select(points, 5), predictor)
    return points


@dataclass(frozen=True)
class DlibDetector:
    """:func:`detect` with its options as a detector object, which can be sent to other processes.

    Attributes:
        points: Number of landmarks, 5 or 68.
        min_score: Lowest confidence of a detection.
        refine: Number of times that the landmarks are refined on the upright face.
        model: Path of a predictor for that number of points; None uses the installed one.
    """

    points: Literal[5, 68] = 68
    min_score: float = 0.2
    refine: int = 2
    model: str | Path | None = None

    def detect(self, image: NDArray[Any]) -> list[Face]:
        """Return the faces of an image, largest first; see :func:`detect`."""
        return detect(image, points=self.points, min_score=self.min_score, refine=self.refine, model=self.model)


def _dlib() -> Any:
    return load("dlib", package="dlib-bin", extra="faces")


@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _predictor(points: int, model: Path | None) -> Any:
    # The package is not imported, only located: importing it needs pkg_resources, which setuptools no longer has.
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


def _refined(pixels: RGBImage, box: Box, first: Points, predictor: Any, refine: int) -> Points:
    """Return the landmarks refined from the first ones, or from a rotated box if those do not converge."""
    if refine < 2:
        return first if refine == 0 else _points_upright(pixels, select(first, 5), predictor)
    results = []
    for start in _starts(box, first):
        points = previous = start
        for _ in range(refine):
            previous, points = points, _points_upright(pixels, select(points, 5), predictor)
        results.append((float(np.linalg.norm(points - previous, axis=1).mean()) / (box[2] - box[0]), points))
        if results[-1][0] < _CONVERGED:
            break
    return min(results, key=lambda result: result[0])[1]


def _starts(box: Box, first: Points) -> Iterator[Points]:
    """Yield the first landmarks, then the five points of a face in the box, rotated to either side."""
    yield first
    corners = np.array([[box[0], box[1]], [box[2], box[3]]])
    five = move(similarity(_CHIP_BOX, corners), CHIP_TEMPLATE)
    middle = corners.mean(0)
    for turn in np.deg2rad(_TURNS):
        yield (five - middle) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + middle


def _points_upright(pixels: RGBImage, five: Points, predictor: Any) -> Points:
    """Return the landmarks in the photograph, predicted on the face rotated upright and scaled to 240 pixels."""
    to_chip = similarity(five, CHIP_TEMPLATE * _FACE_SIDE + (_CHIP_SIDE - _FACE_SIDE) / 2)
    chip = warp(pixels, to_chip, _CHIP_SIDE, _CHIP_SIDE)
    (left, top), (right, bottom) = (_CHIP_BOX * _FACE_SIDE + (_CHIP_SIDE - _FACE_SIDE) / 2).round().astype(int).tolist()
    points = _as_array(predictor(chip, _dlib().rectangle(left, top, right, bottom)))
    return move(inverse(to_chip), points)


def _as_array(shape: Any) -> Points:
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
