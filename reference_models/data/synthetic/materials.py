"""The paint of a point of the head, its colour before lighting: (red, green, blue, gloss).

Points are coordinates of the template, so that the paint moves with the skin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.compiled import compiled
from reference_models.data.synthetic.looks import Backdrop, Color, Creases, Eyes, Hair, Skin
from reference_models.data.synthetic.noise import noise, smooth

Lattice = NDArray[np.float64]
Paint = tuple[float, float, float, float]


@compiled
def _mix(a: Paint, color: Color, gloss: float, amount: float) -> Paint:
    rest = 1.0 - amount
    return (
        a[0] * rest + color[0] * amount,
        a[1] * rest + color[1] * amount,
        a[2] * rest + color[2] * amount,
        a[3] * rest + gloss * amount,
    )


@compiled
def _spot(x: float, y: float, cx: float, cy: float, radius: float) -> float:
    """Return the strength of a round spot: 1 at its centre (cx, cy), falling to 0 far away."""
    d = ((x - cx) * (x - cx) + (y - cy) * (y - cy)) / (radius * radius)
    return 1.0 / ((1.0 + d) * (1.0 + d))


@compiled
def skin_paint(
    p: Color, masks: tuple[float, float, float, float], skin: Skin, hair: Hair, back: Backdrop, lattice: Lattice
) -> Paint:
    """Return the paint of a point ``p`` of the skin; ``masks``: lips, inside of the mouth, eyelids, ears, 0 to 1."""
    x, y, z = p
    side = abs(x)
    nx, ny, nz = x + skin.shift[0], y + skin.shift[1], z + skin.shift[2]
    slow = noise(lattice, nx * 4.0, ny * 4.0, nz * 4.0)
    middle = noise(lattice, nx * 17.0, ny * 17.0, nz * 17.0)
    fast = noise(lattice, nx * 61.0, ny * 61.0, nz * 61.0)
    uneven = 1.0 + skin.mottle * (0.5 * slow + 0.6 * middle + 0.5 * fast)
    front = smooth(0.6, 1.1, z)
    red = _spot(side, y, 0.40, 6.95, 0.16) + 0.8 * _spot(x, y, 0.0, 6.97, 0.10) * front + 0.5 * masks[3]
    red = skin.redness * (red * (0.8 + 0.4 * slow) + 0.25 * middle)
    r, g, b = skin.color
    paint = (r * uneven * (1.0 + 0.15 * red), g * uneven * (1.0 - 0.3 * red), b * uneven * (1.0 - 0.28 * red), 1.0)
    if skin.freckles > 0.0 and front > 0.0:
        spots = smooth(0.45, 0.75, noise(lattice, nx * 31.0, ny * 31.0, nz * 31.0)) * _spot(side, y, 0.2, 7.0, 0.4)
        paint = _mix(paint, (r * 0.5, g * 0.38, b * 0.3), 1.0, skin.freckles * spots)
    # thin skin around the eyes is darker
    around = _spot(side, y, 0.30, 7.22, 0.12) * front + 0.5 * masks[2]
    paint = _mix(paint, (r * 0.72, g * 0.6, b * 0.62), 0.8, 0.30 * min(1.0, around))
    if skin.stubble > 0.0 and y < 7.3:
        cheek = 6.60 + 0.50 * smooth(0.38, 0.72, side) + 0.05 * slow
        jaw = smooth(cheek + 0.12, cheek - 0.14, y) * smooth(5.95, 6.2, y)
        mouth = 1.0 - smooth(0.30, 0.16, side) * smooth(6.90, 6.80, y) * smooth(6.44, 6.52, y)
        lip = smooth(0.36, 0.26, side) * smooth(6.66, 6.72, y) * smooth(6.88, 6.80, y)
        where = max(jaw * mouth, 0.9 * lip) * (1.0 - masks[0]) * smooth(0.3, 0.6, z)
        bristle = 0.62 + 0.38 * noise(lattice, nx * 95.0, ny * 70.0, nz * 95.0) + 0.25 * middle
        c = hair.color
        dark = (0.45 * c[0] + 0.12 * r, 0.45 * c[1] + 0.12 * g, 0.45 * c[2] + 0.14 * b)
        paint = _mix(paint, dark, 0.5, min(0.92, skin.stubble * where * bristle))
    lips = masks[0] * (1.0 - masks[1])
    if lips > 0.0:
        grooves = 1.0 + 0.14 * noise(lattice, x * 42.0, y * 7.0, 3.0) + 0.1 * middle
        paint = _mix(paint, (skin.lips[0] * grooves, skin.lips[1] * grooves, skin.lips[2] * grooves), 1.7, lips * 0.92)
    if masks[1] > 0.0:
        paint = _mix(paint, (0.075, 0.014, 0.012), 0.6, min(1.0, masks[1] * 1.3))
    brow = _brow(x, y, z, hair, lattice)
    if brow > 0.0:
        paint = _mix(paint, hair.brow_color, 0.5, brow)
    scalp = hair_cover(p, masks[3], hair, lattice)
    if scalp > 0.0:
        strands = hair_paint(p, hair, lattice)
        paint = _mix(paint, (strands[0], strands[1], strands[2]), strands[3], scalp)
    cloth = back.collar + 0.10 * smooth(0.2, 0.6, side) + 0.25 * smooth(0.5, -0.2, z)
    if y < cloth + 0.02:
        thread = 1.0 + back.weave * noise(lattice, x * 50.0, y * 50.0, z * 50.0)
        color = (back.cloth[0] * thread, back.cloth[1] * thread, back.cloth[2] * thread)
        paint = _mix(paint, color, 0.05, smooth(cloth + 0.02, cloth - 0.02, y))
    return paint


@compiled
def _brow(x: float, y: float, z: float, hair: Hair, lattice: Lattice) -> float:
    side = abs(x)
    if z < 0.8 or y < 7.25 or y > 7.75 or side > 0.70:
        return 0.0
    along = (side - 0.085) / (0.46 * hair.brow_length)
    if along < -0.1 or along > 1.1:
        return 0.0
    middle = 7.44 + hair.brow_height + hair.brow_arch * (along * (1.35 - along) * 2.0 - 0.30)
    thick = hair.brow_thickness * (1.0 - 0.62 * smooth(0.35, 1.05, along)) * smooth(-0.12, 0.12, along)
    away = abs(y - middle) / max(thick, 0.001)
    strands = 0.92 + 0.30 * noise(lattice, side * 70.0 - y * 42.0, y * 30.0, 5.0 + (x > 0.0) * 9.0)
    cover = smooth(1.25, 0.45, away) * smooth(-0.1, 0.08, along) * smooth(1.08, 0.85, along)
    return min(1.0, hair.brow_density * strands) * cover


@compiled
def hair_cover(p: Color, ear: float, hair: Hair, lattice: Lattice) -> float:
    """Return the fraction of a point of the skin that is covered by the hair of the head, 0 to 1."""
    x, y, z = p
    if y < 6.2 or hair.density == 0.0:
        return 0.0
    side = abs(x)
    line = (
        6.45
        + 0.70 * smooth(0.30, 0.52, z)
        + 0.36 * smooth(0.62, 0.80, z)
        + (0.44 + hair.line) * smooth(0.78, 1.12, z)
        - hair.peak * smooth(0.30, 0.0, side) * smooth(1.0, 1.2, z)
    )
    if y < line - 0.12:
        return 0.0
    ragged = 0.03 * noise(lattice, x * 19.0, y * 3.0, z * 3.0) + 0.035 * noise(lattice, x * 61.0, y * 5.0, z * 5.0)
    return smooth(-0.05, 0.12, y - line + ragged) * (1.0 - smooth(0.15, 0.45, ear)) * hair.density


@compiled
def hair_paint(p: Color, hair: Hair, lattice: Lattice) -> Paint:
    """Return the paint of hair at ``p``: strands that run from the crown."""
    x, y, z = p
    out = np.sqrt(x * x + (z - 0.35) * (z - 0.35)) + 0.05
    ax, az = x / out, (z - 0.35) / out
    strands = noise(lattice, ax * 26.0, y * 1.2, az * 26.0) + 0.6 * noise(lattice, ax * 60.0, y * 2.0, az * 60.0)
    locks = noise(lattice, ax * 7.0 + 3.0, y * 1.7, az * 7.0)
    value = max(0.25, 1.0 + hair.streaks * (0.45 * strands + 0.35 * locks))
    return (hair.color[0] * value, hair.color[1] * value, hair.color[2] * value, 0.9 + 0.5 * strands)


@compiled
def eye_paint(d: Color, eyes: Eyes, lattice: Lattice) -> Paint:
    """Return the paint of a point of an eyeball; ``d`` is its direction from the ball's centre, gaze straight ahead."""
    x, y, z = d
    rim = np.sqrt(x * x + y * y)
    if z < 0.0:
        return (eyes.white[0], eyes.white[1], eyes.white[2], 1.0)
    veins = 0.06 * noise(lattice, x * 9.0, y * 9.0, 2.0) - 0.10 * smooth(0.4, 0.9, rim)
    paint = (eyes.white[0] * (1.0 + 0.5 * veins), eyes.white[1] * (1.0 + veins), eyes.white[2] * (1.0 + veins), 4.0)
    if rim < eyes.iris_size + 0.06:
        near = rim / eyes.iris_size
        cx, cy = x / (rim + 1e-9), y / (rim + 1e-9)
        rays = (
            1.0
            + 0.3 * noise(lattice, cx * 8.0, cy * 8.0, near * 2.0)
            + 0.2 * noise(lattice, cx * 19.0, cy * 19.0, near)
        )
        light = rays * (0.75 + 0.5 * near) * (1.0 - 0.75 * smooth(0.80, 1.0, near))
        color = (eyes.iris[0] * light, eyes.iris[1] * light, eyes.iris[2] * light)
        paint = _mix(paint, color, 5.0, smooth(1.08, 0.94, near))
        paint = _mix(paint, (0.004, 0.004, 0.004), 5.0, smooth(eyes.pupil_size + 0.03, eyes.pupil_size - 0.03, rim))
    return paint


@compiled
def teeth_paint(p: Color, upper: bool, eyes: Eyes) -> Paint:
    """Return the paint of a point of the teeth: enamel, the gaps between them, gums."""
    side = abs(p[0]) / (1.0 if upper else 0.70)
    gap, edge, width = 1.0, 0.0, 0.085
    for tooth in range(7):
        gap = min(gap, smooth(0.0, 0.007 + 0.002 * tooth, abs(side - edge)))
        edge += width
        width = max(0.032, width - 0.016)
    inward = smooth(0.95, 1.42, p[2])
    value = (0.45 + 0.55 * gap) * (0.30 + 0.70 * inward)
    paint = (eyes.enamel[0] * value, eyes.enamel[1] * value, eyes.enamel[2] * value, 2.3)
    gum = smooth(6.680, 6.700, p[1] + 0.02 * (1.0 - gap)) if upper else smooth(6.525, 6.505, p[1] - 0.02 * (1.0 - gap))
    return _mix(paint, (0.26 * inward, 0.075 * inward, 0.07 * inward), 1.5, gum)


@compiled
def crease(p: Color, depth: Creases, lattice: Lattice) -> float:
    """Return the darkness of lines in the skin at a point, 0 to 1."""
    x, y, z = p
    if z < 0.75 or y < 6.2 or y > 8.0:
        return 0.0
    side = abs(x)
    dark = 0.0
    if depth.forehead > 0.0 and y > 7.48:
        wave = (y + 0.025 * noise(lattice, x * 3.0, y * 2.0, 1.0) - 0.05 * side * side) * 11.0
        t = wave - np.floor(wave)
        fold = smooth(0.28, 0.0, abs(t - 0.5)) * smooth(7.5, 7.6, y) * smooth(7.95, 7.85, y) * smooth(0.58, 0.35, side)
        dark = max(dark, depth.forehead * fold * (0.8 + 0.3 * noise(lattice, x * 5.0, y * 5.0, 4.0)))
    if depth.glabella > 0.0 and side < 0.16 and y > 7.2:
        fold = smooth(0.030, 0.006, abs(side - 0.062 - 0.10 * (y - 7.42)))
        dark = max(dark, depth.glabella * fold * smooth(7.27, 7.36, y) * smooth(7.62, 7.48, y))
    if depth.nose > 0.0 and side < 0.17:
        wave = (y - 0.5 * side) * 19.0
        t = wave - np.floor(wave)
        dark = max(dark, depth.nose * smooth(0.3, 0.0, abs(t - 0.5)) * _spot(x, y, 0.0, 7.27, 0.085) * 1.2)
    if depth.crow > 0.0 and side > 0.46:
        wave = ((y - 7.25) / (side - 0.36)) * 3.4
        t = wave - np.floor(wave)
        fold = smooth(0.3, 0.0, abs(t - 0.5)) * smooth(0.47, 0.52, side) * smooth(0.70, 0.60, side)
        dark = max(dark, depth.crow * fold * smooth(0.13, 0.08, abs(y - 7.25)))
    if depth.cheek > 0.0 and 6.5 < y < 7.0 and side > 0.12:
        line = 0.185 + 0.16 * (6.97 - y) / 0.40
        dark = max(
            dark, depth.cheek * smooth(0.035, 0.004, abs(side - line)) * smooth(6.52, 6.64, y) * smooth(7.0, 6.9, y)
        )
    if depth.chin > 0.0 and y < 6.5 and side < 0.25:
        pits = 0.5 + 0.5 * noise(lattice, x * 22.0, y * 22.0, 6.0)
        dark = max(dark, depth.chin * pits * _spot(x, y, 0.0, 6.30, 0.13))
        dark = max(dark, depth.chin * smooth(0.035, 0.0, abs(y - 6.43 - 0.25 * side * side)) * smooth(0.2, 0.1, side))
    if depth.lid > 0.0 and 7.05 < y < 7.25 and 0.12 < side < 0.5:
        bag = 7.155 + 0.9 * (side - 0.30) * (side - 0.30)
        dark = max(
            dark, depth.lid * smooth(0.028, 0.0, abs(y - bag)) * smooth(0.14, 0.2, side) * smooth(0.48, 0.4, side)
        )
    return min(dark, 1.0)
