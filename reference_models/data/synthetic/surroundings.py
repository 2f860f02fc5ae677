"""Draws light, background, clothes and camera of a session."""

from __future__ import annotations

import math

from reference_models.data.synthetic.dice import Dice
from reference_models.data.synthetic.looks import Backdrop, Camera, Color, Light
from reference_models.data.synthetic.styles import Style, linear

_CLOTHS = tuple(map(linear, ("20242c", "f2f0ea", "5a1f26", "2b4a6b", "6e6e70", "3d5a40", "b08a4e", "17181a")))


def draw_light(dice: Dice, style: Style) -> Light:
    """Return the light: key lamp, sky and rim lamp."""
    turn = dice.between(*style.key_side) if style.key_side[0] < 0 else dice.within(style.key_side) * dice.of((-1, 1))
    x, y, z = turn, dice.within(style.key_height), 1.0
    length = math.sqrt(x * x + y * y + z * z)
    strength, sky, warm = dice.within(style.key), dice.within(style.sky), dice.within(style.warmth)
    tint = dice.between(0.94, 1.08)
    rim = dice.between(0, 0.5)
    return Light(
        key_direction=(x / length, y / length, z / length),
        key=(strength * warm, strength, strength / warm),
        sky=(sky / tint, sky, sky * tint),
        ground=(sky * 0.60, sky * 0.50, sky * 0.45),
        rim_direction=(-0.9 if x > 0 else 0.9, 0.3, -0.3),
        rim=(rim, rim, rim * dice.between(0.9, 1.15)),
    )


def draw_backdrop(dice: Dice, style: Style) -> Backdrop:
    """Return background and clothes."""

    def color() -> Color:
        value = dice.within(style.backdrop)
        return dice.color((value, value, value), 0.25)

    blobs = tuple(
        (dice.between(-0.1, 1.1), dice.between(-0.1, 1.1), dice.between(0.08, 0.4), *color()) for _ in range(6)
    )
    plain = dice.happens(0.4)
    hidden = tuple((blob[0] + 9.0, *blob[1:]) for blob in blobs)
    return Backdrop(
        top=color(),
        bottom=color(),
        blobs=hidden if plain else blobs,
        texture=dice.between(0.0, 0.2),
        cloth=dice.color(dice.of(_CLOTHS), 0.3),
        collar=dice.between(5.60, 5.85),
        weave=dice.between(0.05, 0.3),
    )


def draw_camera(dice: Dice, style: Style) -> Camera:
    """Return the camera."""
    return Camera(
        distance=dice.within(style.distance),
        side=dice.within(style.side),
        x=dice.around(0, 0.12),
        y=dice.around(7.12, 0.12),
        exposure=dice.between(0.9, 1.25),
        balance=dice.color((1.0, 1.0, 1.0), 0.06),
        contrast=dice.within(style.contrast),
        noise=dice.within(style.noise),
        seed=0,
    )
