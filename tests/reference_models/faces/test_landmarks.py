"""Landmarks of the astronaut: where they are, and that they move with the photograph."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from reference_models import extras
from reference_models.extras import MissingExtraError
from reference_models.faces import landmarks
from reference_models.faces.landmarks import Face, NoFaceError, SeveralFacesError, choose, detect
from tests.reference_models import astronaut


def test_the_astronauts_face_is_found_where_it_is():
    face = astronaut.face()
    left, top, right, bottom = face.box
    points = face.points
    assert points.shape == (68, 2)
    assert points.dtype == np.float64
    assert 160 < left < 200
    assert 250 < right < 290
    assert 60 < top < 100
    assert 160 < bottom < 190
    right_eye, left_eye, nose, mouth, chin = points[36:42], points[42:48], points[30], points[48:], points[8]
    assert right_eye[:, 0].max() < nose[0] < left_eye[:, 0].min()
    assert max(right_eye[:, 1].max(), left_eye[:, 1].max()) < nose[1] < mouth[:, 1].min() < chin[1]
    assert face.score > 1
    assert face.area == pytest.approx((right - left) * (bottom - top))


def test_both_models_agree_on_the_five_points():
    small = choose(detect(astronaut.photograph(), points=5))
    assert small.points.shape == (5, 2)
    np.testing.assert_array_equal(small.five, small.points)
    np.testing.assert_allclose(astronaut.face().five, small.points, atol=1.5)


@pytest.mark.parametrize("scale", astronaut.SCALES)
@pytest.mark.parametrize("angle", astronaut.ANGLES)
def test_landmarks_move_with_the_photograph(angle, scale):
    image, matrix = astronaut.turned(angle, scale)
    expected = astronaut.moved(matrix, astronaut.face().points)
    found = choose(detect(image)).points
    error = np.linalg.norm(found - expected, axis=1) / scale  # in pixels of the original photograph
    assert error.mean() < 0.6
    assert error.max() < 2.0


def test_without_refinement_the_points_are_dlibs_own():
    import dlib

    plain = choose(detect(astronaut.photograph(), refine=0))
    np.testing.assert_array_equal(plain.points, plain.points.round())
    predictor = landmarks._predictor(68, None)
    shape = predictor(np.array(astronaut.photograph()), dlib.rectangle(*map(round, plain.box)))
    np.testing.assert_array_equal(plain.points, [(point.x, point.y) for point in shape.parts()])


@pytest.mark.parametrize("form", ["grey", "rgba", "sixteen bit"])
def test_other_forms_of_the_photograph_give_the_same_landmarks(form):
    pixels = astronaut.photograph()
    image = {
        "grey": lambda: pixels.mean(2).round().astype(np.uint8),
        "rgba": lambda: np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
        "sixteen bit": lambda: pixels.astype(np.uint16) * 257,
    }[form]()
    error = np.linalg.norm(choose(detect(image)).points - astronaut.face().points, axis=1)
    assert error.mean() < (1.0 if form == "grey" else 1e-9)


def test_a_photograph_larger_than_the_detector_sees():
    side = 1600
    image = np.zeros((side, side, 3), np.uint8)
    image[700:1212, 900:1412] = astronaut.photograph()
    found = choose(detect(image)).points
    error = np.linalg.norm(found - astronaut.face().points - np.array([900, 700]), axis=1)
    assert error.mean() < 0.6


def test_no_face_and_weak_detections():
    flat = np.full((200, 300, 3), 128, np.uint8)
    assert detect(flat) == []
    assert detect(astronaut.photograph(), min_score=3.0) == []
    with pytest.raises(NoFaceError, match=r"no face was found in flat\.png"):
        choose([], name="flat.png")


def test_several_faces_and_the_policy():
    photograph = astronaut.photograph()
    image = np.zeros((512, 1024, 3), np.uint8)
    image[:, :512] = photograph
    image[:, 512:] = photograph[:, ::-1]
    image[:256, :256] = 0  # the left face is gone
    image[128:384, 0:256] = photograph[::2, ::2]  # and stands there at half its size
    faces = detect(image, min_score=0.2)
    small = detect(image[:, :512])
    both = [*small, *faces]
    assert choose(both).box == faces[0].box
    with pytest.raises(SeveralFacesError, match=rf"{len(both)} faces were found in pair"):
        choose(both, policy="raise", name="pair")
    assert choose(faces[:1], policy="raise") is faces[0]
    with pytest.raises(ValueError, match="'largest', 'raise', got 'first'"):
        choose(both, policy="first")


def test_faces_come_largest_first():
    photograph = astronaut.photograph()
    image = np.zeros((1024, 1536, 3), np.uint8)
    image[:512, :512] = photograph
    image[:, 512:] = photograph.repeat(2, axis=0).repeat(2, axis=1)
    faces = detect(image)
    assert len(faces) >= 2
    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert faces[0].box[0] > 512 > faces[-1].box[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"points": 49}, "points must be one of 5, 68, got 49"), ({"refine": -1}, "refine must be at least 0, got -1")],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        detect(astronaut.photograph(), **options)


def test_a_model_of_ones_own(tmp_path):
    small = extras.data_file(
        "face_recognition_models", landmarks._MODEL_FILES[5], package="face_recognition_models", extra="faces"
    )
    own = choose(detect(astronaut.photograph(), points=5, model=small))
    np.testing.assert_array_equal(own.points, choose(detect(astronaut.photograph(), points=5)).points)
    with pytest.raises(ValueError, match=r"model must predict 68 points, but .* predicts 5"):
        detect(astronaut.photograph(), model=small)
    text = tmp_path / "model.dat"
    text.write_text("no model")
    with pytest.raises(ValueError, match=r"model must be a dlib shape predictor, and .*model\.dat is none"):
        detect(astronaut.photograph(), model=text)


def test_the_models_are_found_without_importing_their_package():
    astronaut.face()
    assert "face_recognition_models" not in sys.modules


def test_a_missing_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    landmarks._predictor.cache_clear()
    with pytest.raises(MissingExtraError, match=r'dlib-bin is not installed; .* pip install "attnzoo\[faces\]"'):
        detect(astronaut.photograph())
    with pytest.raises(MissingExtraError, match=r"no_such_package with its file a/b\.dat is not installed"):
        extras.data_file("no_such_package", "a/b.dat", package="no_such_package", extra="faces")


def test_a_broken_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_module_that_is_nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere"):
        extras.load("broken_package", package="broken-package", extra="faces")


def test_a_face_offers_its_five_points():
    points = np.arange(136, dtype=np.float64).reshape(68, 2)
    face = Face((0.0, 0.0, 1.0, 2.0), points, 1.0)
    np.testing.assert_array_equal(face.five[:, 0], [90, 84, 72, 78, 66])
    assert face.area == 2
