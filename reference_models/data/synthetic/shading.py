"""Lights the head: from the z-buffer to pixels.

The z-buffer has twice the picture's resolution. If the four cells of a pixel all belong to skin, or all to hair, they
are shaded once; otherwise (edges, eyes, teeth) each cell is shaded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.compiled import compiled
from reference_models.data.synthetic.head import EYE, HAIR, LASH, SKIN, TEETH
from reference_models.data.synthetic.looks import Backdrop, Camera, Color, Creases, Eyes, Hair, Light, Skin
from reference_models.data.synthetic.materials import crease, eye_paint, hair_paint, skin_paint, teeth_paint
from reference_models.data.synthetic.noise import grain, noise, smooth

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@compiled
def _at(values: Array, axis: int, a: int, b: int, c: int, u: float, v: float, w: float) -> float:
    value: float = u * values[a, axis] + v * values[b, axis] + w * values[c, axis]
    return value


@compiled
def _lit(
    paint: tuple[float, float, float, float], n: Color, sky: float, shade: float, soft: float, light: Light
) -> Color:
    """Return the light that leaves a surface towards the camera, which is at +z.

    ``sky`` is the unoccluded fraction of the surroundings, ``shade`` that of the lamp; ``soft`` is the width of
    subsurface scattering across the shadow's edge, largest for red.
    """
    lx, ly, lz = light.key_direction
    cosine = n[0] * lx + n[1] * ly + n[2] * lz
    red = max(0.0, (cosine + soft) / (1.0 + soft))
    green = max(0.0, (cosine + 0.4 * soft) / (1.0 + 0.4 * soft))
    blue = max(0.0, (cosine + 0.3 * soft) / (1.0 + 0.3 * soft))
    half = 0.5 + 0.5 * n[1]
    hx, hy, hz = lx, ly, lz + 1.0
    length = np.sqrt(hx * hx + hy * hy + hz * hz)
    s = max(0.0, (n[0] * hx + n[1] * hy + n[2] * hz) / length)
    s2 = s * s
    s4 = s2 * s2
    s8 = s4 * s4
    s16 = s8 * s8
    s64 = s16 * s16 * s16 * s16
    edge = 1.0 - max(0.0, n[2])
    oily, wet = min(paint[3], 2.0), max(0.0, paint[3] - 2.0)
    gloss = (oily * (0.020 * s8 + 0.035 * s16 + 0.05 * s64) + wet * 0.4 * s64 * s64 * s64 * s64) * shade
    gloss += oily * 0.05 * edge * edge * edge * edge * sky * light.sky[1]
    rx, ry, rz = light.rim_direction
    behind = max(0.0, n[0] * rx + n[1] * ry + n[2] * rz) * sky * 0.5
    return (
        paint[0] * (light.key[0] * red * shade + (light.ground[0] + (light.sky[0] - light.ground[0]) * half) * sky)
        + gloss * light.key[0]
        + behind * light.rim[0] * paint[0],
        paint[1] * (light.key[1] * green * shade + (light.ground[1] + (light.sky[1] - light.ground[1]) * half) * sky)
        + gloss * light.key[1]
        + behind * light.rim[1] * paint[1],
        paint[2] * (light.key[2] * blue * shade + (light.ground[2] + (light.sky[2] - light.ground[2]) * half) * sky)
        + gloss * light.key[2]
        + behind * light.rim[2] * paint[2],
    )


@compiled
def _shade_skin(
    p: Color,
    n: Color,
    mask: tuple[float, float, float, float],
    sky: float,
    shade: float,
    looks: tuple[Skin, Hair, Eyes, Creases, Light, Backdrop],
    lattice: Array,
) -> Color:
    """Return the colour of the skin at ``p`` with normal ``n``, darker in creases and in the mouth."""
    skin, hair, _, depth, light, back = looks
    paint = skin_paint(p, mask, skin, hair, back, lattice)
    fold = crease(p, depth, lattice)
    dim = 1.0 - 0.36 * fold
    paint = (
        paint[0] * dim,
        paint[1] * dim * (1.0 - 0.08 * fold),
        paint[2] * dim * (1.0 - 0.08 * fold),
        paint[3] * skin.shine,
    )
    hollow = 1.0 - min(1.0, 1.5 * mask[1])
    return _lit(paint, n, sky * (0.25 + 0.75 * hollow), shade * (0.25 + 0.75 * hollow), 0.38, light)


@compiled
def _shade_eye(p: Color, n: Color, shade: float, eye_centers: Array, eyes: Eyes, light: Light, lattice: Array) -> Color:
    """Return the colour of the eyeball at ``p`` with normal ``n``; the lids darken it, the upper one most."""
    ball = 0 if p[0] > 0.0 else 1
    dx, dy, dz = p[0] - eye_centers[ball, 0], p[1] - eye_centers[ball, 1], p[2] - eye_centers[ball, 2]
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / r, dy / r, dz / r
    lids = (
        (0.30 + 0.70 * smooth(0.62, 0.16, dy))
        * (0.72 + 0.28 * smooth(-0.62, -0.25, dy))
        * (0.62 + 0.38 * smooth(0.85, 0.45, abs(dx)))
    )
    return _lit(eye_paint((dx, dy, dz), eyes, lattice), n, 0.80 * lids, 0.80 * lids * shade, 0.25, light)


@compiled
def shade_cell(
    face: int,
    x: float,
    y: float,
    screen: Array,
    triangles: Indices,
    part: int,
    rest: Array,
    normal: Array,
    masks: Array,
    shadow: Array,
    eye_centers: Array,
    looks: tuple[Skin, Hair, Eyes, Creases, Light, Backdrop],
    lattice: Array,
) -> Color:
    """Return the colour of triangle ``face`` where it covers the point (x, y) of the screen."""
    hair, eyes, light = looks[1], looks[2], looks[4]
    a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
    ax, ay, bx, by = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
    cx, cy = screen[c, 0], screen[c, 1]
    inverse = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    u = min(1.0, max(0.0, ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse))
    v = min(1.0 - u, max(0.0, ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse))
    w = 1.0 - u - v
    p = (_at(rest, 0, a, b, c, u, v, w), _at(rest, 1, a, b, c, u, v, w), _at(rest, 2, a, b, c, u, v, w))
    nx, ny, nz = _at(normal, 0, a, b, c, u, v, w), _at(normal, 1, a, b, c, u, v, w), _at(normal, 2, a, b, c, u, v, w)
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    n = (nx / length, ny / length, nz / length)
    shade = u * shadow[a] + v * shadow[b] + w * shadow[c]
    sky = _at(masks, 4, a, b, c, u, v, w)
    if part == SKIN:
        mask = (
            _at(masks, 0, a, b, c, u, v, w),
            _at(masks, 1, a, b, c, u, v, w),
            _at(masks, 2, a, b, c, u, v, w),
            _at(masks, 3, a, b, c, u, v, w),
        )
        return _shade_skin(p, n, mask, sky, shade, looks, lattice)
    if part == EYE:
        return _shade_eye(p, n, shade, eye_centers, eyes, light, lattice)
    if part == TEETH:
        return _lit(teeth_paint(p, masks[a, 0] > 0.5, eyes), (n[0], n[1], abs(n[2])), 0.80, 0.75 * shade, 0.3, light)
    if part == HAIR:
        front = 1.0 if nz > 0.0 else -1.0
        return _lit(hair_paint(p, hair, lattice), (n[0] * front, n[1] * front, n[2] * front), 0.55, 0.45, 0.1, light)
    if part == LASH:
        return _lit(
            (hair.brow_color[0] * 0.35, hair.brow_color[1] * 0.35, hair.brow_color[2] * 0.35, 0.1),
            n,
            0.5,
            0.5,
            0.2,
            light,
        )
    return _lit((0.26, 0.075, 0.07, 1.5), n, 0.28, 0.22 * shade, 0.3, light)  # the tongue


@compiled
def _behind(x: float, y: float, back: Backdrop, camera: Camera, lattice: Array) -> Color:
    """Return the colour of the background at a point of the frame, x and y from 0 to 1."""
    t = smooth(0.0, 1.0, y)
    r = back.top[0] + (back.bottom[0] - back.top[0]) * t
    g = back.top[1] + (back.bottom[1] - back.top[1]) * t
    b = back.top[2] + (back.bottom[2] - back.top[2]) * t
    for blob in back.blobs:
        d = ((x - blob[0]) * (x - blob[0]) + (y - blob[1]) * (y - blob[1])) / (blob[2] * blob[2])
        amount = smooth(1.3, 0.7, d)
        r, g, b = r + (blob[3] - r) * amount, g + (blob[4] - g) * amount, b + (blob[5] - b) * amount
    rough = 1.0 + back.texture * (
        noise(lattice, x * 5.0, y * 5.0, (camera.seed & 1023) * 0.37)
        + 0.4 * noise(lattice, x * 21.0, y * 21.0, (camera.seed & 1023) * 0.37)
    )
    return r * rough, g * rough, b * rough


@compiled
def _developed(value: float, channel: int, noisy: float, camera: Camera) -> np.uint8:
    """Return the camera's pixel value, 0 to 255, for the linear light ``value`` in a channel."""
    value = value * camera.balance[channel] * camera.exposure
    value = value * (1.0 + 0.25 * value) / (1.0 + value * 0.72)  # highlights roll off
    level = np.sqrt(max(0.0, value))
    level = level + camera.contrast * (level - 0.5) * level * (1.0 - min(1.0, level)) * 2.0
    level = 255.0 * level + noisy * (1.0 if channel == 1 else 1.15)
    return np.uint8(min(255.0, max(0.0, np.floor(level + 0.5))))


@compiled
def shade_picture(
    seen: NDArray[np.int32],
    screen: Array,
    triangles: Indices,
    parts: Indices,
    rest: Array,
    normal: Array,
    masks: Array,
    shadow: Array,
    eye_centers: Array,
    looks: tuple[Skin, Hair, Eyes, Creases, Light, Backdrop],
    camera: Camera,
    lattice: Array,
) -> NDArray[np.uint8]:
    """Return the picture (S, S, 3), uint8, from a z-buffer ``seen`` of (2 S, 2 S) cells."""
    size = seen.shape[0] // 2
    picture = np.empty((size, size, 3), dtype=np.uint8)
    back = looks[5]
    for row in range(size):
        for column in range(size):
            first = seen[2 * row, 2 * column]
            plain = first >= 0 and (parts[first] == SKIN or parts[first] == HAIR)
            nothing = first < 0
            for cell in range(1, 4):
                face = seen[2 * row + (cell >> 1), 2 * column + (cell & 1)]
                nothing = nothing and face < 0
                plain = plain and face >= 0 and parts[face] == parts[first]
            r, g, b = 0.0, 0.0, 0.0
            if nothing:
                r, g, b = _behind((column + 0.5) / size, (row + 0.5) / size, back, camera, lattice)
            else:
                count = 1 if plain else 4
                for cell in range(count):
                    down, right = cell >> 1, cell & 1
                    face = seen[2 * row + down, 2 * column + right]
                    if face < 0:
                        color = _behind((column + 0.5) / size, (row + 0.5) / size, back, camera, lattice)
                    else:
                        middle = 0.5 if plain else 0.0
                        color = shade_cell(
                            face,
                            2 * column + right + middle,
                            2 * row + down + middle,
                            screen,
                            triangles,
                            parts[face],
                            rest,
                            normal,
                            masks,
                            shadow,
                            eye_centers,
                            looks,
                            lattice,
                        )
                    r, g, b = r + color[0] / count, g + color[1] / count, b + color[2] / count
            noisy = camera.noise * grain(camera.seed, row, column)
            for channel in range(3):
                value = r if channel == 0 else (g if channel == 1 else b)
                picture[row, column, channel] = _developed(value, channel, noisy, camera)
    return picture
