"""Parts that MakeHuman's base mesh lacks for a portrait: teeth, thin lashes and long hair; and ambient occlusion.

Used by ``make_asset.py`` only. Coordinates are those of the base mesh in decimetres: x to the subject's left, y up, z
to the front.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.mesh import normals
from reference_models.data.synthetic.raster import rasterize

Vertices = NDArray[np.float64]
Quads = NDArray[np.int64]

_ARCH = (0.30, 1.50, 0.52)  # the teeth's arch: half its width, z of its front, its depth
_UPPER, _LOWER = (6.79, 6.685, 6.58), (6.41, 6.51, 6.60)  # heights of the rows of vertices
_DIRECTIONS = 160


def teeth(jaw: Literal["upper", "lower"]) -> tuple[Vertices, Quads]:
    """Return the teeth of a jaw from the gums to their edges, in an arch that is a parabola seen from above."""
    half_width, front, depth = _ARCH
    across = np.linspace(-1, 1, 33)
    inset, heights = (0.0, _UPPER) if jaw == "upper" else (0.035, _LOWER)
    rows = []
    for row, height in enumerate(heights):
        lean = 0.02 * row  # the edges are further in front than the gums
        x = across * (half_width - inset / 2)
        rows.append(np.stack([x, np.full_like(x, height), front - 0.04 - inset + lean - depth * across**2], axis=1))
    faces = _grid(len(rows), len(across))
    return np.concatenate(rows), faces if jaw == "upper" else faces[:, ::-1]


def curtain() -> tuple[Vertices, Quads]:
    """Return long hair that hangs from the crown around the back of the head, open at the front."""
    turns = np.linspace(-1.95, 1.95, 25)
    rows = []
    for height, radius in ((8.35, 0.62), (8.1, 0.82), (7.7, 0.95), (7.2, 1.0), (6.7, 1.03), (6.2, 1.07), (5.48, 1.15)):
        x, z = 0.92 * radius * np.sin(turns), 0.22 - 0.80 * radius * np.cos(turns)
        rows.append(np.stack([x, np.full_like(x, height), z], axis=1))
    return np.concatenate(rows), _grid(len(rows), len(turns))


def thin_lashes(vertices: Vertices, lashes: NDArray[np.int64], skin: NDArray[np.int64]) -> Vertices:
    """Return the vertices with the lashes moved towards the lid, because no texture makes them thinner."""
    result = vertices.copy()
    for lash in lashes:
        root = skin[np.argmin(((vertices[skin] - vertices[lash]) ** 2).sum(1))]
        result[lash] = vertices[root] + 0.16 * (vertices[lash] - vertices[root]) + [0.0, 0.0, 0.004]
    return result


def followers(points: Vertices, leaders: Vertices) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the three nearest leaders of each point and their weights: added parts move with the base mesh."""
    distance = ((points[:, None] - leaders[None]) ** 2).sum(2)
    index = np.argsort(distance, axis=1, kind="stable")[:, :3]
    weight = 1 / (np.take_along_axis(distance, index, 1) + 1e-3)
    return index, weight / weight.sum(1, keepdims=True)


def occlusion(vertices: Vertices, triangles: NDArray[np.int64], solid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the unoccluded fraction of the hemisphere at each vertex, 0 to 255, from many shadow maps."""
    normal = normals(vertices, triangles)
    seen = np.zeros(len(vertices))
    total = np.zeros(len(vertices))
    blockers = triangles[solid]
    for index in range(_DIRECTIONS):
        height = 1 - 2 * (index + 0.5) / _DIRECTIONS
        turn = index * 2.399963229728653  # the golden angle distributes directions evenly over the sphere
        direction = np.array([*(np.sqrt(1 - height**2) * np.array([np.cos(turn), np.sin(turn)])), height])
        right = np.cross([0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0], direction)
        right /= np.linalg.norm(right)
        up = np.cross(direction, right)
        screen = np.stack([vertices @ right, -(vertices @ up), vertices @ direction], axis=1)
        screen[:, :2] = (screen[:, :2] - screen[:, :2].min(0)) * 180
        width, height_px = (int(side) + 2 for side in screen[:, :2].max(0))
        _, depth = rasterize(screen, blockers, np.ones(len(blockers), dtype=bool), width, height_px)
        column, row = np.rint(screen[:, :2]).astype(int).T
        cosine = (normal @ direction).clip(0)
        seen += cosine * (screen[:, 2] >= depth[row, column] - 0.03)
        total += cosine
    return np.rint(255 * seen / np.maximum(total, 1e-9)).astype(np.uint8)


def _grid(rows: int, columns: int) -> Quads:
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return np.stack([first, first + columns, first + columns + 1, first + 1], axis=1)
