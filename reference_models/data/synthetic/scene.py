"""What is on one picture: who, what the face does, and under which circumstances. Drawn from seeds, nothing rendered.

Every draw has a seed of its own, made of the user's seed, the style, the identity and the frame, so that a picture is
the same whichever process draws it, in whichever order. Only uniform numbers are drawn: those of numpy's generator PCG64
are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from reference_models.data.synthetic.action_units import EXPRESSIONS, LOWER, MAX_LEVEL, RIG, UNITS, UPPER
from reference_models.data.synthetic.head import load_head
from reference_models.data.synthetic.looks import Backdrop, Camera, Color, Eyes, Hair, Light, Skin
from reference_models.data.synthetic.styles import Range, Style, head_shapes, linear

T = TypeVar("T")
MAX_YAW = 20.0
"""Degrees; dlib's detector misses faces that are turned further."""

_IRISES = tuple(map(linear, ("3b2414", "2a180e", "5c3d20", "5a6a4a", "5f7f96", "6b7478")))
_CLOTHS = tuple(map(linear, ("20242c", "f2f0ea", "5a1f26", "2b4a6b", "6e6e70", "3d5a40", "b08a4e", "17181a")))
_IDENTITY, _SESSION, _FRAME, _LEVELS = range(4)  # what a seed is for


@dataclass(frozen=True, eq=False)
class Identity:
    """A person.

    Attributes:
        shapes: Weight of each target of the head model.
        gains: For each action unit, how strongly the left and the right side follow it, 0.8 to 1.2.
        age: 0 to 1: how deep the lines of the resting face are.
        skin: Skin and lips.
        hair: Hair and brows.
        eyes: Eyes and teeth.
    """

    shapes: tuple[float, ...]
    gains: Mapping[int, tuple[float, float]]
    age: float
    skin: Skin
    hair: Hair
    eyes: Eyes


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of a session.

    Attributes:
        weights: For each action unit, how far it is moved on the left and the right, 1 at level 5 and gain 1.
        blink: How far the eyes are closed, 0 to 1.
        gaze: Where they look, to the subject's left and up, -1 to 1.
        pose: Yaw, pitch and roll in degrees; yaw is at most :data:`MAX_YAW`.
        light: The light.
        backdrop: Background and clothes.
        camera: The camera.
    """

    weights: Mapping[int, tuple[float, float]]
    blink: float
    gaze: tuple[float, float]
    pose: Color
    light: Light
    backdrop: Backdrop
    camera: Camera


class Dice:
    """Random draws from a seed that names what they are for."""

    def __init__(self, *seed: int) -> None:
        self._numbers = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

    def between(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * float(self._numbers.random())

    def around(self, middle: float, most: float) -> float:
        """Return a number at most ``most`` away from ``middle``, more likely near it."""
        return middle + most * (self.between(-1, 1) + self.between(-1, 1) + self.between(-1, 1)) / 3

    def of(self, several: Sequence[T]) -> T:
        """Return one of several."""
        return several[int(self._numbers.integers(len(several)))]

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, both included."""
        return int(self._numbers.integers(low, high + 1))

    def happens(self, chance: float) -> bool:
        """Return true with this probability."""
        return float(self._numbers.random()) < chance

    def within(self, limits: Range) -> float:
        """Return a number from a range."""
        return self.between(*limits)


def draw_identity(seed: int, style: Style, identity: int) -> Identity:
    """Return a person of a style."""
    dice = Dice(seed, style.number, _IDENTITY, identity)
    names = load_head().shapes.names
    shapes = [0.0] * len(names)
    male, old = dice.between(0, 1), dice.within(style.ages)
    origins = [dice.between(0, 1) ** 3 for _ in range(3)]  # a cube: mostly one of them
    for index, name in enumerate(names):
        gender, age = (1 - male if "-female-" in name else male), (old if "-old" in name else 1 - old)
        for origin, share in zip(("african-", "asian-", "caucasian-"), origins, strict=True):
            if name.startswith(origin):
                shapes[index] = gender * age * share / (sum(origins) + 1e-6)
    fat = dice.around(0, 0.7)
    for index, name in enumerate(names):
        if name.startswith("universal-"):
            gender, age = (1 - male if "-female-" in name else male), (old if "-old-" in name else 1 - old)
            shapes[index] = gender * age * max(0.0, fat if name.endswith("-maxweight") else -fat)
    chosen = head_shapes(style, names)
    symmetric: dict[str, float] = {}
    for index in chosen:
        drawn = max(0.0, dice.around(0.0, 2.2 * style.spread))
        stem = names[index].removeprefix("l-").removeprefix("r-")
        shapes[index] = symmetric.setdefault(stem, drawn) * dice.between(0.9, 1.1)
    gains = {
        unit: (gain * dice.between(0.94, 1.06), gain * dice.between(0.94, 1.06))
        for unit in UNITS
        for gain in [dice.between(0.85, 1.13)]
    }
    masculine = male > 0.5
    skin_color, hair = _skin_and_hair(dice, style, masculine, old)
    return Identity(
        tuple(shapes),
        MappingProxyType(gains),
        old * dice.between(0.4, 1.0),
        skin_color,
        hair,
        Eyes(
            iris=_varied(dice, dice.of(_IRISES), 0.25),
            iris_size=dice.between(0.43, 0.50),
            pupil_size=dice.between(0.13, 0.24),
            white=_varied(dice, (0.62, 0.58, 0.55), 0.08),
            enamel=_varied(dice, (0.72, 0.68, 0.56), 0.12),
        ),
    )


def _skin_and_hair(dice: Dice, style: Style, masculine: bool, old: float) -> tuple[Skin, Hair]:
    place = dice.between(0, len(style.skins) - 1.001)
    light, dark, part = style.skins[int(place)], style.skins[int(place) + 1], place - int(place)
    red, green, blue = (a + (b - a) * part for a, b in zip(light, dark, strict=True))
    skin = _varied(dice, (red, green, blue), 0.10)
    lip = dice.between(0.62, 0.9)
    made_up = not masculine and dice.happens(0.3)
    lips = (skin[0] * lip * 1.05, skin[1] * lip * 0.62, skin[2] * lip * 0.66)
    if made_up:
        lips = (0.35 * lips[0] + 0.20, 0.5 * lips[1], 0.6 * lips[2] + 0.02)
    # dark skin rarely has fair hair
    color = _varied(dice, dice.of(style.hairs if place < 2.6 else style.hairs[:3]), 0.2)
    if old > 0.6 and dice.happens(0.5):
        grey = dice.between(0.2, 0.8)
        color = (color[0] + (0.33 - color[0]) * grey, color[1] + (0.32 - color[1]) * grey, color[2] + (0.31 - color[2]) * grey)
    darker = dice.between(0.35, 0.9)
    bald = masculine and dice.happens(0.15)
    return (
        Skin(
            color=skin,
            lips=lips,
            redness=dice.between(0.1, 0.7) * (1.0 if place < 3 else 0.4),
            mottle=dice.within(style.mottle),
            freckles=dice.between(0.2, 0.7) if place < 2 and dice.happens(0.2) else 0.0,
            shine=dice.within(style.shine),
            stubble=dice.between(0.1, 1.0) if masculine and dice.happens(0.55) else 0.0,
            shift=(dice.between(0, 30), dice.between(0, 30), dice.between(0, 30)),
        ),
        Hair(
            color=color,
            line=dice.around(0.0, 0.10) + (0.10 * old if masculine else -0.03),
            peak=dice.between(-0.04, 0.08),
            volume=dice.between(0.03, 0.10) if masculine else dice.between(0.05, 0.16),
            density=dice.between(0.0, 0.35) if bald else 1.0,
            long=not bald and dice.happens(0.08 if masculine else 0.75),
            streaks=dice.between(0.5, 1.0),
            brow_color=(color[0] * darker, color[1] * darker, color[2] * darker),
            brow_height=dice.around(0.0, 0.03),
            brow_arch=dice.within(style.brow_arch) * (0.7 if masculine else 1.0),
            brow_thickness=dice.within(style.brow_thickness) * (1.12 if masculine else 0.85),
            brow_density=dice.between(0.65, 1.05),
            brow_length=dice.between(0.9, 1.06),
        ),
    )


def draw_frame(
    seed: int, style: Style, identity: int, frame: int, levels: Mapping[int, float], person: Identity, session: int = 0
) -> Frame:
    """Return one moment: the surroundings are those of the session, and what moves is drawn anew.

    Args:
        seed: The user's seed.
        style: The style.
        identity: Number of the person.
        frame: Number of the frame in the session.
        levels: Level of each action unit that acts, 0 to 5; those of a sequence need not be whole.
        person: What :func:`draw_identity` returned for them.
        session: Number of the session.
    """
    now = Dice(seed, style.number, _FRAME, identity, session, frame)
    lasting = Dice(seed, style.number, _SESSION, identity, session)
    pose = (lasting.around(0, 17), lasting.around(0, 9), lasting.around(0, 8))
    light, backdrop, camera = _light(lasting, style), _backdrop(lasting, style), _camera(lasting, style)
    gaze = (lasting.around(0, 0.35), lasting.around(0, 0.2))
    yaw, pitch, roll = (angle + now.around(0, 2) for angle in pose)
    tilt = now.around(0, 0.08)
    weights = {
        unit: (left * level / MAX_LEVEL * (1 + tilt), right * level / MAX_LEVEL * (1 - tilt))
        for unit, level in levels.items()
        if level > 0
        for left, right in [person.gains[unit]]
    }
    blink = now.between(0.5, 1.0) if now.happens(0.05) and levels.get(5, 0) == 0 else 0.0
    return Frame(
        MappingProxyType(weights),
        blink,
        (gaze[0] + now.around(0, 0.3), gaze[1] + now.around(0, 0.2)),
        (max(-MAX_YAW, min(MAX_YAW, yaw)), pitch, roll),
        light,
        backdrop,
        camera._replace(
            x=camera.x + now.around(0, 0.03),
            y=camera.y + now.around(0, 0.03),
            side=camera.side * (1 + now.around(0, 0.015)),
            exposure=camera.exposure * (1 + now.around(0, 0.04)),
            seed=now.whole(0, 2**31 - 1),
        ),
    )


def draw_levels(seed: int, style: Style, identity: int, frame: int, session: int = 0) -> dict[int, int]:
    """Return which action units act in an expressive frame, and at which level from 1 to 5.

    A third are combinations of EMFACS, not always complete; else the halves of the face act each for itself.
    """
    dice = Dice(seed, style.number, _LEVELS, identity, session, frame)
    if dice.happens(1 / 3):
        acting = tuple(unit for unit in dice.of(dice.of(tuple(EXPRESSIONS.values()))) if not dice.happens(0.12))
    else:
        acting = dice.of(UPPER) + dice.of(LOWER)
    return _levels(dice, acting, dice.between(1.0, 5.0))


def draw_expression(seed: int, style: Style, identity: int, frame: int, expression: str, session: int = 0) -> dict[int, int]:
    """Return an expression's action units at levels from 2 to 5."""
    dice = Dice(seed, style.number, _LEVELS, identity, session, frame)
    return _levels(dice, dice.of(EXPRESSIONS[expression]), dice.between(3.0, 5.0))


def _levels(dice: Dice, acting: Sequence[int], strength: float) -> dict[int, int]:
    drawn = {unit: max(1, min(MAX_LEVEL, round(strength + dice.between(-1.5, 1.5)))) for unit in sorted(set(acting))}
    for jaw in (26, 27):  # a jaw does not drop between closed lips
        if drawn.get(jaw, 0) >= 2:
            drawn[25] = max(drawn.get(25, 0), min(MAX_LEVEL, drawn[jaw]))
    return {unit: drawn[unit] for unit in sorted(drawn) if unit in RIG}


def _light(dice: Dice, style: Style) -> Light:
    turn = dice.between(*style.key_side) if style.key_side[0] < 0 else dice.within(style.key_side) * dice.of((-1, 1))
    x, y, z = turn, dice.within(style.key_height), 1.0
    length = float(np.sqrt(x * x + y * y + z * z))
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


def _backdrop(dice: Dice, style: Style) -> Backdrop:
    def color() -> Color:
        value = dice.within(style.backdrop)
        return _varied(dice, (value, value, value), 0.25)

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
        cloth=_varied(dice, dice.of(_CLOTHS), 0.3),
        collar=dice.between(5.60, 5.85),
        weave=dice.between(0.05, 0.3),
    )


def _camera(dice: Dice, style: Style) -> Camera:
    return Camera(
        distance=dice.within(style.distance),
        side=dice.within(style.side),
        x=dice.around(0, 0.12),
        y=dice.around(7.12, 0.12),
        exposure=dice.between(0.9, 1.25),
        balance=_varied(dice, (1.0, 1.0, 1.0), 0.06),
        contrast=dice.within(style.contrast),
        noise=dice.within(style.noise),
        seed=0,
    )


def _varied(dice: Dice, color: Color, most: float) -> Color:
    shared = 1 + dice.around(0, most)
    red, green, blue = (max(0.002, channel * shared * (1 + dice.around(0, most / 2))) for channel in color)
    return red, green, blue
