"""The compiled parts against slow ones written with numpy's own functions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.synthetic.asset.make_landmarks import MIRROR
from reference_models.data.synthetic.head import HAIR, SKIN, load_head
from reference_models.data.synthetic.landmarks import anchors, landmark_points
from reference_models.data.synthetic.looks import MEAN_BROW_ARCH
from reference_models.data.synthetic.mesh import add_targets, normals, place, settle, turn
from reference_models.data.synthetic.noise import LATTICE, grain, noise
from reference_models.data.synthetic.people import draw_identity
from reference_models.data.synthetic.raster import lamp_shadow, rasterize
from reference_models.data.synthetic.styles import style

RANDOM = np.random.default_rng(3)


def test_targets_are_added_with_their_weights():
    head = load_head()
    weights = RANDOM.normal(size=len(head.units.names)) * (RANDOM.random(len(head.units.names)) < 0.3)
    moved = head.vertices.copy()
    add_targets(moved, weights, head.units.start, head.units.index, head.units.delta, 0.001)
    expected = head.vertices.copy()
    for number, weight in enumerate(weights):
        some = slice(head.units.start[number], head.units.start[number + 1])
        np.add.at(expected, head.units.index[some], 0.001 * weight * head.units.delta[some])
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    assert np.abs(moved - head.vertices).max() > 0.01


def test_normals_are_those_of_the_triangles_around_and_point_outwards():
    head = load_head()
    normal = normals(head.vertices, head.triangles)
    a, b, c = (head.vertices[head.triangles[:, corner]] for corner in range(3))
    total = np.zeros_like(head.vertices)
    for corner in range(3):
        np.add.at(total, head.triangles[:, corner], np.cross(b - a, c - a))
    expected = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)
    np.testing.assert_allclose(normal, expected, atol=1e-9)
    assert normal[anchors()[0][30], 2].min() > 0.8  # the tip of the nose


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [-25.0, 3.0, 22.0])
def test_turns_are_rotations(axis: int, angle: float):
    points = RANDOM.normal(size=(20, 3))
    pivot = np.array([0.1, -0.4, 0.7])
    angles = [0.0, 0.0, 0.0]
    angles[axis] = angle
    turned = points.copy()
    turn(turned, pivot, *angles)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    matrix = (
        [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        [[1, 0, 0], [0, c, -s], [0, s, c]],
        [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    )[axis]
    np.testing.assert_allclose(turned, (points - pivot) @ np.array(matrix).T + pivot, atol=1e-5)


def test_the_camera_is_a_perspective_one():
    points = np.array([[0.5, 7.5, 1.0], [0.5, 7.5, 2.0], [0.0, 7.0, 1.0]])
    screen = place(points, 1.0, 10.0, 0.0, 7.0, 100.0, 201)
    np.testing.assert_allclose(screen[:, :2], [[150, 50], [100 + 50 / 0.9, 100 - 50 / 0.9], [100, 100]])
    assert screen[1, 2] > screen[0, 2]


def test_settled_points_have_the_templates_middle_and_width():
    template = load_head().vertices
    moved = template * 1.3 + [0.2, -0.5, 0.1]
    settle(moved, template, anchors()[0].ravel())
    np.testing.assert_allclose(moved, template, atol=1e-9)


def brute_force(screen, triangles, two_sided, width, height):
    """Return the nearest triangle of each pixel, by solving for barycentric coordinates in each."""
    seen, depth = np.full((height, width), -1), np.full((height, width), -np.inf)
    for number, (a, b, c) in enumerate(screen[triangles]):
        matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        if abs(np.linalg.det(matrix)) < 1e-12 or (np.linalg.det(matrix) > 0 and not two_sided[number]):
            continue
        for row in range(height):
            for column in range(width):
                weights = np.linalg.solve(matrix, [column, row, 1])
                z = weights @ [a[2], b[2], c[2]]
                if weights.min() >= 0 and z > depth[row, column]:
                    seen[row, column], depth[row, column] = number, z
    return seen


def test_the_nearest_triangle_is_seen():
    screen = RANDOM.uniform(-4, 20, size=(24, 3))
    triangles = RANDOM.permutation(24).reshape(8, 3)
    two_sided = np.arange(8) % 2 == 0
    seen, depth = rasterize(screen, triangles, two_sided, 17, 13)
    np.testing.assert_array_equal(seen, brute_force(screen, triangles, two_sided, 17, 13))
    assert len(np.unique(seen)) > 4
    assert ((depth > -1e29) == (seen >= 0)).all()


def test_the_nose_shades_the_cheek_that_turns_from_the_lamp():
    head = load_head()
    skin = head.parts != HAIR
    triangles, parts = head.triangles[skin], head.parts[skin]
    direction = np.array([0.8, 0.0, 0.6])
    lit = lamp_shadow(head.vertices, triangles, parts, direction)
    face = np.unique(triangles[parts == SKIN])
    beside = face[(np.abs(head.vertices[face, 1] - 7.0) < 0.05) & (head.vertices[face, 2] > 1.25)]
    left, right = beside[head.vertices[beside, 0] > 0.18], beside[head.vertices[beside, 0] < -0.18]
    assert lit[left].mean() > 0.8
    assert lit[right].mean() < 0.5
    np.testing.assert_array_less(-1e-12, lit)


def test_landmarks_are_symmetric_points_on_the_skin():
    head = load_head()
    vertices, weights = anchors()
    points = (head.vertices[vertices] * weights[..., None]).sum(1)
    assert np.isin(vertices, head.triangles[head.parts == SKIN]).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    assert weights.min() >= -2e-4
    np.testing.assert_allclose(points[MIRROR] * [-1, 1, 1], points, atol=0.006)


def test_painted_brows_take_their_landmarks_along():
    head = load_head()
    hair = draw_identity(0, style("studio"), 0).hair._replace(brow_height=0.0, brow_arch=MEAN_BROW_ARCH)
    screen = head.vertices[:, :2] * [100, -100]
    rest = landmark_points(screen, hair, 100.0)
    higher = landmark_points(screen, hair._replace(brow_height=0.03), 100.0)
    expected = np.zeros((68, 2))
    expected[17:27, 1] = -3
    np.testing.assert_allclose(higher - rest, expected, atol=1e-9)
    arched = landmark_points(screen, hair._replace(brow_arch=MEAN_BROW_ARCH + 0.04), 100.0)
    assert (arched - rest)[19, 1] < 0 < (arched - rest)[21, 1]


def test_noise_is_smooth_and_grain_is_normal():
    places = np.linspace(0, 9, 400)
    along = np.array([noise(LATTICE, x, 0.3, 0.7) for x in places])
    assert np.abs(along).max() <= 1
    assert np.abs(np.diff(along)).max() < 0.09
    assert along.std() > 0.15
    values = np.array([grain(77, row, column) for row in range(60) for column in range(60)])
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
