"""Deforms and projects the mesh, and computes its normals.

Compiled by numba without reassociated sums or fused multiply-adds, and without functions of the C math library except
the square root, which is correctly rounded: every machine computes the same numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.compiled import compiled
from reference_models.data.synthetic.looks import Hair
from reference_models.data.synthetic.materials import hair_cover
from reference_models.data.synthetic.noise import noise, smooth

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@compiled
def add_targets(vertices: Array, weights: Array, start: Indices, index: Indices, delta: Array, unit: float) -> None:
    """Add ``weights[t] * unit * delta`` of each target ``t`` to ``vertices`` (V, 3), in place.

    The entries of target ``t`` are those from ``start[t]`` to ``start[t + 1]``.
    """
    for target in range(len(weights)):
        weight = weights[target] * unit
        if weight == 0.0:
            continue
        for entry in range(start[target], start[target + 1]):
            vertex = index[entry]
            for axis in range(3):
                vertices[vertex, axis] += weight * delta[entry, axis]


@compiled
def normals(vertices: Array, triangles: Indices) -> Array:
    """Return the unit normals of the vertices (V, 3): the mean of the adjacent triangles' normals, weighted by area."""
    result = np.zeros_like(vertices)
    for face in range(len(triangles)):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            result[vertex, 0] += nx
            result[vertex, 1] += ny
            result[vertex, 2] += nz
    for vertex in range(len(result)):
        x, y, z = result[vertex]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            for axis in range(3):
                result[vertex, axis] /= length
    return result


@compiled
def settle(vertices: Array, template: Array, chosen: Indices) -> None:
    """Move and scale ``vertices`` in place so that the chosen ones have the template's centre and spread."""
    middle, target = np.zeros(3), np.zeros(3)
    for vertex in chosen:
        for axis in range(3):
            middle[axis] += vertices[vertex, axis] / len(chosen)
            target[axis] += template[vertex, axis] / len(chosen)
    spread, wanted = 0.0, 0.0
    for vertex in chosen:
        for axis in range(2):
            spread += (vertices[vertex, axis] - middle[axis]) * (vertices[vertex, axis] - middle[axis])
            wanted += (template[vertex, axis] - target[axis]) * (template[vertex, axis] - target[axis])
    scale = np.sqrt(wanted / spread)
    for vertex in range(len(vertices)):
        for axis in range(3):
            vertices[vertex, axis] = target[axis] + scale * (vertices[vertex, axis] - middle[axis])


@compiled
def turn(vertices: Array, pivot: Array, yaw: float, pitch: float, roll: float) -> None:
    """Rotate ``vertices`` about ``pivot`` in place; angles are in degrees, at most about 45.

    Sine and cosine are computed from the tangent of half the angle, by a series that needs no math library.
    """
    for axis in range(3):
        half = (yaw, pitch, roll)[axis] * (0.008726646259971648)
        square = half * half
        t = half * (1.0 + square * (1.0 / 3.0 + square * (2.0 / 15.0 + square * (17.0 / 315.0))))
        cosine, sine = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
        first, second = ((2, 0), (1, 2), (0, 1))[axis]  # z towards x, y towards z, x towards y
        for vertex in range(len(vertices)):
            a, b = vertices[vertex, first] - pivot[first], vertices[vertex, second] - pivot[second]
            vertices[vertex, first] = pivot[first] + cosine * a - sine * b
            vertices[vertex, second] = pivot[second] + sine * a + cosine * b


@compiled
def place(vertices: Array, depth: float, distance: float, x: float, y: float, scale: float, side: int) -> Array:
    """Return the vertices on the screen (V, 3): column, row, and depth (larger is nearer).

    Args:
        vertices: (V, 3); the camera looks along -z.
        depth: z of the plane in which ``scale`` holds.
        distance: Distance of the camera from that plane.
        x: x coordinate at the centre of the frame.
        y: y coordinate at the centre of the frame.
        scale: Pixels per decimetre.
        side: Side of the frame in pixels.
    """
    screen = np.empty_like(vertices)
    for vertex in range(len(vertices)):
        nearer = scale * distance / (distance + depth - vertices[vertex, 2])
        screen[vertex, 0] = (side - 1) / 2 + nearer * (vertices[vertex, 0] - x)
        screen[vertex, 1] = (side - 1) / 2 - nearer * (vertices[vertex, 1] - y)
        screen[vertex, 2] = vertices[vertex, 2]
    return screen


@compiled
def hair_volume(vertices: Array, rest: Array, normal: Array, masks: Array, hair: Hair, lattice: Array) -> None:
    """Move the scalp outwards in place, by the thickness of its hair."""
    for vertex in range(len(vertices)):
        x, y, z = rest[vertex, 0], rest[vertex, 1], rest[vertex, 2]
        if y < 6.3:
            continue
        cover = hair_cover((x, y - 0.06, z), masks[vertex, 3], hair, lattice)
        lift = hair.volume * cover * (0.8 + 0.5 * noise(lattice, x * 3.0, y * 3.0, z * 3.0)) * smooth(6.4, 7.4, y)
        for axis in range(3):
            vertices[vertex, axis] += lift * normal[vertex, axis]
