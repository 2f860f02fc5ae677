"""A z-buffer: which triangle is seen in each pixel."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
NOTHING = -1
FAR = -1e30


@njit(cache=True, nogil=True)
def rasterize(screen: Array, triangles: Array, two_sided: Array, width: int, height: int) -> tuple[Array, Array]:
    """Draw triangles into a z-buffer.

    Args:
        screen: Vertices (V, 3): x and y in pixels, whose centres are whole numbers, y down; z larger = nearer.
        triangles: Vertex numbers (T, 3), counter-clockwise seen from outside, in space where y is up.
        two_sided: (T,), whether the triangle is seen from behind too.
        width: Of the picture.
        height: Of the picture.

    Returns:
        Number of the nearest triangle, (height, width) int32, -1 where there is none, and its z.
    """
    seen = np.full((height, width), NOTHING, dtype=np.int32)
    depth = np.full((height, width), FAR, dtype=np.float64)
    for face in range(len(triangles)):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ax, ay, az = screen[a, 0], screen[a, 1], screen[a, 2]
        bx, by, bz = screen[b, 0], screen[b, 1], screen[b, 2]
        cx, cy, cz = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or (area > 0.0 and not two_sided[face]):  # y is down: seen from outside is clockwise
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
