"""A z-buffer: the nearest triangle in each pixel; and shadows from a lamp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.compiled import compiled

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
NOTHING = -1
FAR = -1e30
_SHADOW_SIDE = 160  # pixels of the shadow map
_SHADOW_SCALE = 40.0  # pixels per decimetre
_SHADOW_BIAS = 0.07  # decimetres by which a surface must be nearer to the lamp to shadow another


@compiled
def rasterize(
    screen: Array, triangles: Indices, two_sided: NDArray[np.bool_], width: int, height: int
) -> tuple[NDArray[np.int32], Array]:
    """Draw triangles into a z-buffer.

    Args:
        screen: Vertices (V, 3): x and y in pixels, y down, pixel centres at whole numbers; larger z is nearer.
        triangles: Vertex indices (T, 3), counter-clockwise seen from outside, with y up.
        two_sided: (T,), whether a triangle is also visible from behind.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.

    Returns:
        Index of the nearest triangle (height, width), int32, -1 where there is none; and its z (height, width).
    """
    seen = np.full((height, width), NOTHING, dtype=np.int32)
    depth = np.full((height, width), FAR, dtype=np.float64)
    for face in range(len(triangles)):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or (area > 0.0 and not two_sided[face]):  # with y down, front faces are clockwise
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx))))
        right = min(width - 1, int(np.floor(max(ax, bx, cx))))
        top = max(0, int(np.ceil(min(ay, by, cy))))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy))))
        inverse = 1.0 / area
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                u = ((bx - column) * (cy - row) - (by - row) * (cx - column)) * inverse
                v = ((cx - column) * (ay - row) - (cy - row) * (ax - column)) * inverse
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                z = u * az + v * bz + w * cz
                if z > depth[row, column]:
                    depth[row, column] = z
                    seen[row, column] = face
    return seen, depth


@compiled
def lamp_shadow(vertices: Array, triangles: Indices, parts: Indices, direction: Array) -> Array:
    """Return the fraction of the lamp's light that reaches each vertex (V,), 0 to 1, with soft shadow edges.

    Args:
        vertices: (V, 3).
        triangles: (T, 3).
        parts: (T,), part of each triangle; only skin (0) casts shadows, the other parts are too thin or inside.
        direction: Unit vector towards the lamp, which is infinitely far away; not straight up.
    """
    length = np.sqrt(direction[2] * direction[2] + direction[0] * direction[0])
    rx, rz = direction[2] / length, -direction[0] / length
    ux, uy, uz = direction[1] * rz, direction[2] * rx - direction[0] * rz, -direction[1] * rx
    flat = np.empty_like(vertices)
    for vertex in range(len(vertices)):
        x, y, z = vertices[vertex, 0], vertices[vertex, 1] - 7.0, vertices[vertex, 2]
        flat[vertex, 0] = _SHADOW_SIDE / 2 + (x * rx + z * rz) * _SHADOW_SCALE
        flat[vertex, 1] = _SHADOW_SIDE / 2 - (x * ux + y * uy + z * uz) * _SHADOW_SCALE
        flat[vertex, 2] = x * direction[0] + y * direction[1] + z * direction[2]
    solid = triangles[parts == 0]
    _, depth = rasterize(flat, solid, np.zeros(len(solid), dtype=np.bool_), _SHADOW_SIDE, _SHADOW_SIDE)
    light = np.ones(len(vertices))
    for vertex in range(len(vertices)):
        column, row = int(np.rint(flat[vertex, 0])), int(np.rint(flat[vertex, 1]))
        if column < 3 or row < 3 or column >= _SHADOW_SIDE - 3 or row >= _SHADOW_SIDE - 3:
            continue
        reached = 0.0
        for down in range(-2, 3):
            for right in range(-2, 3):
                reached += 1.0 if flat[vertex, 2] > depth[row + down, column + right] - _SHADOW_BIAS else 0.0
        light[vertex] = reached / 25.0
    return light
