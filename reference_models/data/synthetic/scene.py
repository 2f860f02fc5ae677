"""Draws the content of a picture: levels of action units, pose, gaze, and the surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from reference_models.data.synthetic.action_units import EXPRESSIONS, LOWER, MAX_LEVEL, UPPER
from reference_models.data.synthetic.dice import FRAME, LEVELS, SESSION, Dice
from reference_models.data.synthetic.looks import Backdrop, Camera, Color, Light
from reference_models.data.synthetic.people import Identity
from reference_models.data.synthetic.styles import Style
from reference_models.data.synthetic.surroundings import draw_backdrop, draw_camera, draw_light

MAX_YAW = 20.0
"""Largest yaw in degrees; dlib's detector misses faces that are turned further."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The content of one picture of a session.

    Attributes:
        weights: Action unit to its strength on the left and right side, 1 at level 5 with gain 1.
        blink: Closure of the eyes, 0 open to 1 closed.
        gaze: Direction of the eyes: to the subject's left, and up, each -1 to 1.
        pose: Yaw, pitch and roll in degrees; yaw is at most :data:`MAX_YAW`.
        light: Lamps and ambient light.
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


def draw_frame(
    seed: int, style: Style, identity: int, frame: int, levels: Mapping[int, float], person: Identity, session: int = 0
) -> Frame:
    """Return the content of one picture.

    Light, background, camera and mean pose belong to the session; blink and small movements are drawn for each frame.

    Args:
        seed: The user's seed.
        style: The style.
        identity: Number of the person.
        frame: Number of the frame in the session.
        levels: Action unit to its level, 0 to 5, possibly fractional.
        person: The person, from :func:`draw_identity`.
        session: Number of the session.
    """
    now = Dice(seed, style.number, FRAME, identity, session, frame)
    lasting = Dice(seed, style.number, SESSION, identity, session)
    pose = (lasting.around(0, 17), lasting.around(0, 9), lasting.around(0, 8))
    light, backdrop, camera = draw_light(lasting, style), draw_backdrop(lasting, style), draw_camera(lasting, style)
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
    """Return the active action units of an expressive frame, each with its level from 1 to 5.

    One third of the frames show a combination of EMFACS, sometimes with units left out; in the others the upper and
    the lower half of the face are drawn independently.
    """
    dice = Dice(seed, style.number, LEVELS, identity, session, frame)
    if dice.happens(1 / 3):
        acting = tuple(unit for unit in dice.of(dice.of(tuple(EXPRESSIONS.values()))) if not dice.happens(0.12))
    else:
        acting = dice.of(UPPER) + dice.of(LOWER)
    return _levels(dice, acting, dice.between(1.0, 5.0))


def draw_expression(
    seed: int, style: Style, identity: int, frame: int, expression: str, session: int = 0
) -> dict[int, int]:
    """Return an expression's action units at levels from 2 to 5."""
    dice = Dice(seed, style.number, LEVELS, identity, session, frame)
    return _levels(dice, dice.of(EXPRESSIONS[expression]), dice.between(3.0, 5.0))


def _levels(dice: Dice, acting: Sequence[int], strength: float) -> dict[int, int]:
    drawn = {unit: max(1, min(MAX_LEVEL, round(strength + dice.between(-1.5, 1.5)))) for unit in sorted(set(acting))}
    for jaw in (26, 27):  # a dropped jaw parts the lips
        if drawn.get(jaw, 0) >= 2:
            drawn[25] = max(drawn.get(25, 0), min(MAX_LEVEL, drawn[jaw]))
    return {unit: drawn[unit] for unit in sorted(drawn)}
