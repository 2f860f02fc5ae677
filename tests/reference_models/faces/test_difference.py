"""Difference maps: pixel by pixel what the paper says, binary, nested, and nothing where nothing moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnzoo import DIFFERENCE_THRESHOLDS
from reference_models.faces.alignment import align_chip
from reference_models.faces.difference import (
    absolute_difference,
    binary_maps,
    difference,
    difference_maps,
    grey_levels,
    mean_variance_map,
)
from reference_models.faces.face_mask import BETWEEN_BROWS, face_mask, face_polygon
from tests.oracles import difference_maps as oracle
from tests.reference_models import astronaut, expressions


@pytest.fixture(scope="module")
def frames():
    photograph, points = expressions.moved_face()
    neutral = align_chip(astronaut.photograph(), astronaut.face().points)
    return neutral, align_chip(photograph, points)


@pytest.fixture(scope="module")
def found(frames):
    return difference(*frames)


def test_every_step_is_the_oracles_pixel_by_pixel(frames, found):
    neutral, action = (torch.from_numpy(frame.image) for frame in frames)
    corners = oracle.polygon(torch.from_numpy(frames[1].points), 5.0)
    mask = oracle.inside(corners, 224)
    levels = oracle.levels(neutral, action, mask)
    maps = oracle.maps(levels, list(DIFFERENCE_THRESHOLDS))
    assert maps[4].sum() > 100  # there is something to see even at the highest threshold
    np.testing.assert_allclose(found.polygon, corners.numpy(), atol=1e-12)
    np.testing.assert_array_equal(found.mask, mask.numpy())
    np.testing.assert_array_equal(found.levels, levels.numpy())
    np.testing.assert_array_equal(found.maps, maps.numpy())
    np.testing.assert_array_equal(found.face, frames[1].image * mask.numpy()[:, :, None])
    np.testing.assert_array_equal(found.masked, found.colour * mask.numpy()[:, :, None])


def test_grey_is_opencvs_to_a_rounding():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    apart = grey_levels(pixels).astype(int) - cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    assert np.abs(apart).max() <= 1
    assert (apart != 0).mean() < 0.01


def test_the_difference_is_where_the_face_was_moved(frames, found):
    _, action = frames
    moved = np.array([action.points[number] for number, _ in expressions.SMILE_AND_FROWN])
    rows, columns = np.nonzero(found.maps[0])
    nearest = np.linalg.norm(np.stack([columns, rows], 1)[:, None] - moved, axis=2).min(1)
    scale = np.sqrt(np.linalg.det(action.transform[:, :2]))
    assert (nearest < 3 * expressions.REACH * scale).mean() > 0.95


def test_identical_frames_give_nothing(frames):
    for frame in frames:
        nothing = difference(frame, frame)
        assert nothing.mask.any()
        assert not nothing.maps.any()
        assert not mean_variance_map(nothing.levels).any()


def test_maps_are_binary_and_nested(found):
    assert found.maps.dtype == np.uint8
    assert set(np.unique(found.maps)) == {0, 1}
    for lower, higher in zip(found.maps, found.maps[1:], strict=False):
        assert (higher <= lower).all()
        assert higher.sum() < lower.sum()


def test_max_pooled_maps_stay_binary(found):
    maps = torch.from_numpy(found.maps)[None].float()
    for _ in range(5):
        maps = F.max_pool2d(maps, 2)
        assert set(maps.unique().tolist()) == {0.0, 1.0}
    assert maps.shape == (1, 5, 7, 7)


def test_a_threshold_is_reached_by_equality():
    levels = np.array([[29, 30, 34, 35, 50, 255]], dtype=np.uint8)
    assert binary_maps(levels)[:, 0].tolist() == [
        [0, 1, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]
    assert binary_maps(levels, [29.5]).tolist() == [[[0, 1, 1, 1, 1, 1]]]


@pytest.mark.parametrize("one_neutral", [False, True])
def test_a_batch_is_its_pairs(frames, found, one_neutral):
    neutral, action = frames
    batch = np.stack([action.image, neutral.image, action.image[:, ::-1]])
    masks = np.stack([found.mask, found.mask, found.mask[:, ::-1]])
    rest = neutral.image if one_neutral else np.stack([neutral.image] * 3)
    maps = difference_maps(rest, batch, masks)
    assert maps.shape == (3, 5, 224, 224)
    assert maps.dtype == np.uint8
    np.testing.assert_array_equal(maps[0], found.maps)
    assert not maps[1].any()
    levels = grey_levels(absolute_difference(neutral.image, batch[2])) * masks[2]
    np.testing.assert_array_equal(maps[2], binary_maps(levels))


def test_the_mask_may_be_the_neutral_face(frames):
    neutral, action = frames
    np.testing.assert_array_equal(
        difference(neutral, action, mask_from="neutral").mask, face_mask(face_polygon(neutral.points), size=224)
    )


def test_the_polygon_by_hand():
    """A face made of round numbers: the jaw a half circle, the brows level, the nose root 6 below them."""
    points = np.zeros((68, 2))
    points[:17] = [[100 - 60 * np.cos(a), 100 + 60 * np.sin(a)] for a in np.linspace(0, np.pi, 17)]
    points[17:27, 0], points[17:27, 1] = [50, 60, 70, 80, 90, 110, 120, 130, 140, 150], 80
    points[22, 1] = 82  # of the inner ends the lower one counts
    points[27] = [103, 88]
    polygon = face_polygon(points)
    middle = points[:27].mean(0)
    assert polygon.shape == (28, 2)
    np.testing.assert_allclose(np.linalg.norm(polygon[:17] - points[:17], axis=1), 5)
    nearer = np.linalg.norm(points[:17] - middle, axis=1) - np.linalg.norm(polygon[:17] - middle, axis=1)
    np.testing.assert_allclose(nearer, 5)
    assert polygon[17].tolist() == [150, 75]
    assert polygon[21].tolist() == [110, 77]
    assert polygon[BETWEEN_BROWS].tolist() == [100, 82 - 6]
    assert polygon[23].tolist() == [90, 75]
    assert polygon[27].tolist() == [50, 75]
    np.testing.assert_allclose(face_polygon(points, margin=0)[:17], points[:17])
    np.testing.assert_array_equal(face_polygon(np.delete(points, [60, 64], 0)), polygon)


def test_the_margin_grows_with_the_face():
    chip = align_chip(astronaut.photograph(), astronaut.face().points, size=224)
    large = align_chip(astronaut.photograph(), astronaut.face().points, size=448)
    fixed, relative = face_polygon(chip.points), face_polygon(chip.points, relative=True)
    assert np.abs(fixed - relative).max() < 0.3  # in the paper's frame 5 pixels are 5 pixels
    moved = np.linalg.norm(face_polygon(large.points, relative=True)[:17] - large.points[:17], axis=1)
    np.testing.assert_allclose(moved, 2 * np.linalg.norm(relative[:17] - chip.points[:17], axis=1))


def test_a_mask_by_hand():
    mask = face_mask([[1, 1], [3, 1], [3, 2.4], [1, 2.6]], size=5)
    assert mask.tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    outside = face_mask([[-50.0, -50.0], [90.0, -50.0], [90.0, 90.0], [-50.0, 90.0]], size=6)
    assert outside.all()


@pytest.mark.parametrize(("rows", "columns", "smallest"), [(4, 4, 100.0), (2, 7, 0.5), (1, 1, 30.0)])
def test_the_rejected_map_is_the_oracles(found, rows, columns, smallest):
    expected = oracle.mean_variance(torch.from_numpy(found.levels), rows, columns, smallest)
    assert expected.any()
    ours = mean_variance_map(found.levels, regions=(rows, columns), min_variance=smallest)
    np.testing.assert_array_equal(ours, expected.numpy())


LEVELS = np.zeros((8, 8), np.uint8)
IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: grey_levels(LEVELS), ValueError, r"image must have shape \(.., H, W, 3\), got \(8, 8\)"),
        (lambda: grey_levels(IMAGE / 255), TypeError, "image must be a numpy array of uint8, got float64"),
        (lambda: absolute_difference(IMAGE, IMAGE[:4]), ValueError, r"of one size, got \(8, 8, 3\) and \(4, 8, 3\)"),
        (lambda: absolute_difference([[0]], IMAGE), TypeError, "neutral must be a numpy array of uint8, got list"),
        (lambda: difference_maps(IMAGE, IMAGE[None], LEVELS), ValueError, r"mask \(B, H, W\), got"),
        (
            lambda: difference_maps(IMAGE, IMAGE[None], LEVELS[None] + 255),
            ValueError,
            "mask must hold 0 and 1, got 255",
        ),
        (lambda: binary_maps(LEVELS, [256]), ValueError, r"thresholds must be grey levels in \[0, 255\], got 256"),
        (lambda: binary_maps(LEVELS, []), ValueError, "at least one grey level"),
        (lambda: binary_maps(LEVELS[0]), ValueError, r"levels must have shape \(.., H, W\), got \(8,\)"),
        (lambda: mean_variance_map(LEVELS, regions=(9, 1)), ValueError, r"at least 9 x 1 pixels, got \(8, 8\)"),
        (lambda: mean_variance_map(LEVELS, regions=(0, 1)), ValueError, "regions must be at least 1, got 0"),
        (lambda: face_polygon(np.zeros((5, 2))), ValueError, r"points must have shape \(66 or 68, 2\), got \(5, 2\)"),
        (lambda: face_polygon(np.zeros((68, 2)), margin=-1), ValueError, "margin must be at least 0, got -1"),
        (lambda: face_mask([[0, 0], [1, 1]], size=4), ValueError, "polygon must have at least 3 corners, got 2"),
        (lambda: face_mask([[0, 0], [1, 1], [0, 3]], size=0), ValueError, "size must be at least 1, got 0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_frames_must_fit(frames):
    neutral, action = frames
    small = align_chip(astronaut.photograph(), astronaut.face().points, size=112)
    with pytest.raises(ValueError, match=r"pictures .* of one size"):
        difference(small, action)
    with pytest.raises(ValueError, match="mask_from must be one of"):
        difference(neutral, action, mask_from="both")
