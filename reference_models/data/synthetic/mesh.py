"""Triangles that move: targets added to the vertices, and normals.

Compiled by numba without reassociation of sums or fused multiply-adds, and without any function of the C library's
mathematics but the square root, which is exact: the same numbers on every machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def add_targets(vertices: Array, weights: Array, start: Array, index: Array, delta: Array, unit: float) -> None:
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


@njit(cache=True, nogil=True)
def normals(vertices: Array, triangles: Array) -> Array:
    """Return the unit normals of the vertices (V, 3): those of the triangles around, weighted by area."""
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
