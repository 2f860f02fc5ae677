"""Aligned faces: the named landmarks stand where the papers put them, in the numbers and in the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from attnzoo import RegionMask
from reference_models.faces import geometry
from reference_models.faces.alignment import align_chip, align_tra_net, crop
from reference_models.faces.landmarks import choose, detect
from tests.reference_models import astronaut

FRAME_MIDDLE = 111.5


def nose_middle(points):
    return (points[27] + points[30]) / 2


def carried_along(matrix):
    """Return the landmarks of the photograph at rest, carried along: known without a second detection."""
    return astronaut.moved(matrix, astronaut.face().points)


def registered(a, b, points):
    """Return the correlation of two pictures after an affine registration, and how far that moves the points."""
    a, b = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (a, b))
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-6)
    correlation, found = cv2.findTransformECC(a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop)
    return correlation, astronaut.moved(found.astype(np.float64), points) - points


@pytest.mark.parametrize("scale", astronaut.SCALES)
@pytest.mark.parametrize("angle", astronaut.ANGLES)
def test_tra_net_puts_detected_nose_and_chin_where_the_paper_says(angle, scale):
    image, matrix = astronaut.turned(angle, scale)
    aligned = align_tra_net(image, choose(detect(image)).points)
    assert aligned.image.shape == (224, 224, 3)
    assert np.linalg.norm(nose_middle(aligned.points) - [FRAME_MIDDLE, FRAME_MIDDLE]) < 1e-9
    assert np.linalg.norm(aligned.points[8] - [FRAME_MIDDLE, 223.5]) < 1e-9
    assert aligned.center_row == pytest.approx(112.0, abs=1e-9)
    truth = aligned.to_frame(carried_along(matrix))  # detected elsewhere: at rest, and carried along
    assert np.linalg.norm(nose_middle(truth) - [FRAME_MIDDLE, FRAME_MIDDLE]) < 1.0
    assert np.linalg.norm(truth[8] - [FRAME_MIDDLE, 223.5]) < 2.0


@pytest.mark.parametrize("form", ["rgb", "grey", "rgba"])
@pytest.mark.parametrize(("angle", "scale"), [(30.0, 1.0), (-30.0, 2.0), (15.0, 0.5), (0.0, 2.0)])
def test_the_picture_itself_lands_where_the_numbers_say(angle, scale, form):
    """An affine registration of the two aligned pictures moves no corner of the face by a fifth of a pixel."""
    image, matrix = astronaut.turned(angle, scale)
    if form == "grey":
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    elif form == "rgba":
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    rest = align_tra_net(astronaut.photograph(), astronaut.face().points).image
    turned = align_tra_net(image, carried_along(matrix)).image
    corners = np.array([[56.0, 56.0], [168.0, 56.0], [56.0, 168.0], [168.0, 168.0]])
    correlation, shift = registered(rest, turned, corners)
    assert correlation > 0.995
    assert np.abs(shift).max() < 0.2


ALIGNMENTS = {
    "tra_net": align_tra_net,
    "chip": align_chip,
    "crop": lambda image, points: crop(image, (*points.min(0), *points.max(0)), points),
}


@pytest.mark.parametrize("name", ALIGNMENTS)
@pytest.mark.parametrize("scale", astronaut.SCALES)
@pytest.mark.parametrize("angle", astronaut.ANGLES)
def test_the_inverse_returns_to_the_photograph(name, angle, scale):
    image, matrix = astronaut.turned(angle, scale)
    points = carried_along(matrix)
    aligned = ALIGNMENTS[name](image, points)
    np.testing.assert_array_equal(aligned.points, aligned.to_frame(points))
    assert np.abs(aligned.to_photo(aligned.points) - points).max() < 1e-9
    linear = aligned.transform[:, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * np.linalg.det(linear), atol=1e-12)  # no shear, no mirror
    assert np.linalg.det(linear) > 0


def test_the_picture_agrees_with_the_transform():
    """A bright dot at a landmark of the photograph is found in the frame where the transform says."""
    points = astronaut.face().points
    for name, align in ALIGNMENTS.items():
        for landmark in (30, 36, 54):
            dot = np.zeros((512, 512), np.float32)
            spot = points[landmark].round().astype(int)
            cv2.circle(dot, tuple(spot.tolist()), 2, 255, -1)
            aligned = align(dot.astype(np.uint8), points)
            weights = aligned.image[:, :, 0].astype(np.float64)
            rows, columns = np.indices(weights.shape)
            centroid = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
            expected = aligned.to_frame(spot[None].astype(float))[0]
            assert np.abs(centroid - expected).max() < 0.1, (name, landmark)


@pytest.mark.parametrize("size", [150, 300])
@pytest.mark.parametrize("padding", [0.0, 0.25, 0.6])
def test_the_chip_is_dlibs_chip(padding, size):
    import dlib

    image = np.array(astronaut.photograph())
    face = choose(detect(image, points=5, refine=0))
    parts = dlib.points([dlib.point(int(x), int(y)) for x, y in face.points])
    shape = dlib.full_object_detection(dlib.rectangle(*map(round, face.box)), parts)
    expected = dlib.get_face_chip(image, shape, size=size, padding=padding)
    ours = align_chip(image, face.points, size=size, padding=padding)
    correlation, shift = registered(expected, ours.image, np.array([[0.0, 0.0], [size, size], [size / 2, size / 2]]))
    scale = np.sqrt(np.linalg.det(ours.transform[:, :2]))
    assert correlation > 0.99
    assert np.abs(shift[:2]).max() < 0.55 * max(1, scale)  # half a pixel of the photograph, as align_chip says
    assert np.abs(shift[2]).max() < 0.1


def test_crop_is_square_about_the_box_and_not_turned():
    points = astronaut.face().points
    aligned = crop(astronaut.photograph(), (180.0, 80.0, 260.0, 180.0), points, size=140, margin=0.2)
    corners = aligned.to_photo([[-0.5, -0.5], [139.5, 139.5]])
    np.testing.assert_allclose(corners, [[150.0, 60.0], [290.0, 200.0]], atol=1e-9)
    # At scale 1 and whole pixels the crop is a slice of the photograph, half a pixel apart on each side.
    shifted = crop(astronaut.photograph(), (180.5, 80.5, 259.5, 179.5), points, size=99, margin=0.0)
    np.testing.assert_array_equal(shifted.image, astronaut.photograph()[81:180, 171:270])


def test_outside_the_photograph_the_frame_is_black():
    aligned = crop(np.full((20, 20, 3), 200, np.uint8), (-40.0, -40.0, 20.0, 20.0), [[0.0, 0.0]], size=60, margin=0.0)
    assert (aligned.image[:35] == 0).all()
    assert (aligned.image[45:59, 45:59] == 200).all()
    far = crop(np.full((20, 20, 3), 200, np.uint8), (500.0, 500.0, 520.0, 520.0), [[0.0, 0.0]])
    assert (far.image == 0).all()


def test_a_strong_reduction_averages_and_stays_in_place():
    """Stripes of one pixel become grey and not a moire, and an edge stays where it belongs."""
    stripes = np.zeros((1003, 1001), np.uint8)
    stripes[:, ::2] = 255
    small = crop(stripes, (-0.5, -0.5, 999.5, 999.5), [[0.0, 0.0]], size=100, margin=0.0).image
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() < 4
    edge = np.zeros((1003, 1001), np.uint8)
    edge[:, 507:] = 255
    profile = crop(edge, (-0.5, -0.5, 999.5, 999.5), [[0.0, 0.0]], size=100, margin=0.0).image[50, :, 0] / 255
    assert 100 - profile.sum() == pytest.approx(50.7, abs=0.05)


def test_a_panorama_wider_than_opencv_warps():
    wide = np.zeros((64, 40_000, 3), np.uint8)
    wide[:, 35_000:] = 90
    aligned = crop(wide, (34_980.0, 10.0, 35_020.0, 50.0), [[0.0, 0.0]], size=40, margin=0.0)
    assert aligned.image[20, 5].tolist() == [0, 0, 0]
    assert aligned.image[20, 35].tolist() == [90, 90, 90]


def test_center_row_is_what_region_mask_takes():
    points = astronaut.face().points
    aligned = crop(astronaut.photograph(), astronaut.face().box, points, size=224, margin=0.3)
    masks = RegionMask(1, frame_height=224).masks(torch.ones(1, 1, 224, 224), aligned.center_row)
    rows_above = int(masks["upper"].sum())
    nose_row = nose_middle(aligned.points)[1]
    assert rows_above - 1 <= nose_row <= rows_above
    five = align_chip(astronaut.photograph(), astronaut.face().five)
    with pytest.raises(ValueError, match="landmark 27, as 68 or 66 or 49 points do, got 5"):
        _ = five.center_row


def test_sixty_six_points_align_as_sixty_eight():
    points = astronaut.face().points
    disfa = np.delete(points, [60, 64], axis=0)  # DISFA has no inner corners of the mouth
    for align in (align_tra_net, align_chip):
        np.testing.assert_array_equal(
            align(astronaut.photograph(), disfa).transform, align(astronaut.photograph(), points).transform
        )


def test_similarity_against_a_least_squares_solver():
    rng = np.random.default_rng(3)
    source, target = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    a, b, shift_x, shift_y = np.linalg.lstsq(np.array(rows), target.T.ravel(), rcond=None)[0]
    np.testing.assert_allclose(geometry.similarity(source, target), [[a, -b, shift_x], [b, a, shift_y]], atol=1e-12)


def test_composition_and_inverse():
    first = geometry.similarity([[0, 0], [3, 1]], [[5, 2], [1, 1]])
    second = geometry.similarity([[0, 0], [1, 0]], [[2, 2], [2, 7]])
    points = np.array([[0.3, 9.0], [4.0, -2.0]])
    both = geometry.move(geometry.compose(second, first), points)
    np.testing.assert_allclose(both, geometry.move(second, geometry.move(first, points)), atol=1e-12)
    identity = geometry.compose(geometry.inverse(first), first)
    np.testing.assert_allclose(identity, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    with pytest.raises(ValueError, match="flattens the plane"):
        geometry.inverse(np.zeros((2, 3)))


POINTS = np.random.default_rng(5).uniform(0, 100, (68, 2))
IMAGE = np.zeros((100, 100, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: align_tra_net(IMAGE, POINTS[:5]), ValueError, r"points must have shape \(66 or 68, 2\), got \(5, 2\)"),
        (lambda: align_tra_net(IMAGE, np.where(POINTS > 50, np.nan, POINTS)), ValueError, "points must be finite"),
        (lambda: align_tra_net(IMAGE, np.ones((68, 2))), ValueError, "nose and the chin at different places"),
        (lambda: align_tra_net(IMAGE, POINTS, size=0), ValueError, "size must be at least 1, got 0"),
        (lambda: align_tra_net("photo.png", POINTS), TypeError, "image must be a numpy array"),
        (lambda: align_chip(IMAGE, POINTS[:7]), ValueError, r"\(5 or 49 or 66 or 68, 2\), got \(7, 2\)"),
        (lambda: align_chip(IMAGE, np.ones((5, 2))), ValueError, "two different points"),
        (lambda: align_chip(IMAGE, POINTS, padding=-0.1), ValueError, "padding must be at least 0, got -0.1"),
        (lambda: crop(IMAGE, (5.0, 0.0, 5.0, 9.0), POINTS), ValueError, "left < right and top < bottom"),
        (lambda: crop(IMAGE, (float("nan"), 0.0, 5.0, 9.0), POINTS), ValueError, "box must be finite"),
        (lambda: crop(IMAGE, (0.0, 0.0, 5.0, 9.0), POINTS, margin=-0.5), ValueError, "margin must be above -0.5"),
        (lambda: geometry.similarity([[0, 0], [1, 1]], [[0, 0]]), ValueError, r"target must have shape \(2, 2\)"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
