"""Renders a picture of a synthetic face with its exact landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reference_models.checks import positive_int
from reference_models.data.synthetic.action_units import RIG
from reference_models.data.synthetic.head import EYE, HAIR, LASH, TEETH, load_head
from reference_models.data.synthetic.landmarks import anchors, landmark_points
from reference_models.data.synthetic.looks import Creases
from reference_models.data.synthetic.mesh import add_targets, hair_volume, normals, place, settle, turn
from reference_models.data.synthetic.noise import LATTICE
from reference_models.data.synthetic.people import Identity
from reference_models.data.synthetic.raster import lamp_shadow, rasterize
from reference_models.data.synthetic.scene import Frame
from reference_models.data.synthetic.shading import shade_picture

THOUSANDTH = 0.001
_PIVOT = np.array([0.0, 7.0, 0.3])  # centre of the head's rotation
_MIDDLE = 1.0  # z of the plane in which the camera's frame is ``camera.side`` wide

Geometry = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A rendered face.

    Attributes:
        image: Pixels (S, S, 3), uint8.
        landmarks: dlib's 68 points (68, 2), float64, (x, y) in pixels; (0, 0) is the centre of the top left pixel. They
            are points of the head's surface, visible or not.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float64]


def render(person: Identity, frame: Frame, *, size: int = 224) -> Picture:
    """Render a face.

    Args:
        person: The person.
        frame: Action units, pose, gaze, and the surroundings.
        size: Side of the picture in pixels.

    Raises:
        TypeError: If ``size`` is not an int.
        ValueError: If it is below 1.
    """
    positive_int("size", size)
    head = load_head()
    seen, parts, geometry = visible(person, frame, size)
    vertices, triangles, screen = geometry
    normal = normals(vertices, triangles)
    shadow = lamp_shadow(vertices, triangles, parts, np.array(frame.light.key_direction))
    looks = (person.skin, person.hair, person.eyes, _creases(person, frame), frame.light, frame.backdrop)
    surface = (triangles, parts, head.vertices, normal, head.masks, shadow, _eye_centers())
    image = shade_picture(seen, screen, *surface, looks, frame.camera, LATTICE)
    landmarks = landmark_points(screen, person.hair, 2 * size / frame.camera.side)
    return Picture(image, landmarks / 2 - 0.25)


def visible(person: Identity, frame: Frame, size: int) -> tuple[NDArray[np.int32], NDArray[np.int64], Geometry]:
    """Return the visible triangle in each cell of a z-buffer with two by two cells per pixel.

    Returns:
        Index of the triangle (2 size, 2 size), -1 where there is none; the part of each triangle; and the geometry:
        vertices in space, triangles, and vertices on the screen.
    """
    vertices = _neutral_vertices(person).copy()
    units = load_head().units
    add_targets(vertices, _unit_weights(person, frame), units.start, units.index, units.delta, THOUSANDTH)
    turn(vertices, _PIVOT, *frame.pose)
    triangles, parts, two_sided = _triangles_to_draw(person.hair.long)
    camera, side = frame.camera, 2 * size
    screen = place(vertices, _MIDDLE, camera.distance, camera.x, camera.y, side / camera.side, side)
    seen, _ = rasterize(screen, triangles, two_sided, side, side)
    return seen, parts, (vertices, triangles, screen)


@lru_cache(maxsize=64)
def _neutral_vertices(person: Identity) -> NDArray[np.float64]:
    """Return the vertices of a person's neutral face, moved and scaled to the template's place."""
    head = load_head()
    vertices = head.vertices.copy()
    shapes = head.shapes
    add_targets(vertices, np.array(person.shapes), shapes.start, shapes.index, shapes.delta, THOUSANDTH)
    settle(vertices, head.vertices, anchors()[0].ravel())
    hair_volume(vertices, head.vertices, normals(vertices, head.triangles), head.masks, person.hair, LATTICE)
    return vertices


@lru_cache(maxsize=2)
def _triangles_to_draw(long_hair: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the triangles to draw, their parts, and whether each is visible from behind."""
    head = load_head()
    kept = (head.parts != HAIR) | long_hair
    parts = head.parts[kept]
    return head.triangles[kept], parts, np.isin(parts, (TEETH, LASH, HAIR))


@lru_cache(maxsize=1)
def _eye_centers() -> NDArray[np.float64]:
    head = load_head()
    points = head.vertices[np.unique(head.triangles[head.parts == EYE])]
    return np.stack([(side.min(0) + side.max(0)) / 2 for side in (points[points[:, 0] > 0], points[points[:, 0] < 0])])


@lru_cache(maxsize=1)
def _unit_numbers() -> dict[str, int]:
    return {name: index for index, name in enumerate(load_head().units.names)}


def _unit_weights(person: Identity, frame: Frame) -> NDArray[np.float64]:
    """Return the weight of each face unit."""
    number = _unit_numbers()
    weights = np.zeros(len(number))

    def move(name: str, left: float, right: float) -> None:
        if name in number:
            weights[number[name]] += (left + right) / 2
        else:
            weights[number[f"{name}Left"]] += left
            weights[number[f"{name}Right"]] += right

    for name, weight in person.rest.items():
        move(name, weight, weight)
    for unit, (left, right) in frame.weights.items():
        for name, share in RIG[unit].items():
            move(name, share * left, share * right)
    across, up = frame.gaze
    move("eyeLookOut", max(0.0, across), max(0.0, -across))
    move("eyeLookIn", max(0.0, -across), max(0.0, across))
    move("eyeLookUp" if up > 0 else "eyeLookDown", abs(up), abs(up))
    open_eyes = weights[number["eyeWideLeft"]], weights[number["eyeWideRight"]]
    move("eyeBlink", max(0.0, frame.blink - open_eyes[0]), max(0.0, frame.blink - open_eyes[1]))
    return weights


def _creases(person: Identity, frame: Frame) -> Creases:
    def acting(unit: int) -> float:
        left, right = frame.weights.get(unit, (0.0, 0.0))
        return (left + right) / 2

    old = person.age
    return Creases(
        forehead=min(1.0, 0.25 * old + 0.75 * max(acting(1), acting(2))),
        glabella=min(1.0, 0.2 * old + 0.85 * acting(4)),
        nose=min(1.0, 0.8 * acting(9)),
        crow=min(1.0, 0.25 * old + 0.7 * acting(6) + 0.1 * acting(12)),
        cheek=min(1.0, 0.15 + 0.3 * old + 0.5 * acting(12) + 0.4 * acting(9) + 0.35 * acting(10)),
        chin=min(1.0, 0.7 * acting(17)),
        lid=min(1.0, 0.2 * old + 0.4 * acting(6) + 0.45 * acting(7)),
    )
