"""Draws synthetic persons: shape of the head, strength of their action units, skin, hair and eyes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reference_models.data.synthetic.action_units import UNITS
from reference_models.data.synthetic.dice import IDENTITY, Dice
from reference_models.data.synthetic.head import load_head
from reference_models.data.synthetic.looks import Eyes, Hair, Skin
from reference_models.data.synthetic.styles import Style, head_shapes, linear

_IRISES = tuple(map(linear, ("3b2414", "2a180e", "5c3d20", "5a6a4a", "5f7f96", "6b7478")))
_REST = MappingProxyType({"mouthSmile": 0.16, "browInnerUp": 0.30, "browDown": 0.08, "eyeSquint": 0.15})
_ORIGINS = ("african-", "asian-", "caucasian-")


@dataclass(frozen=True, eq=False)
class Identity:
    """A person.

    Attributes:
        shapes: Weight of each target of the head model.
        gains: Action unit to the factors of its strength on the left and right side, 0.8 to 1.2.
        rest: Weights of face units in the person's neutral face, which differs from the template.
        age: Depth of the lines of the neutral face, 0 to 1.
        skin: Skin and lips.
        hair: Hair and brows.
        eyes: Eyes and teeth.
    """

    shapes: tuple[float, ...]
    gains: Mapping[int, tuple[float, float]]
    rest: Mapping[str, float]
    age: float
    skin: Skin
    hair: Hair
    eyes: Eyes


def draw_identity(seed: int, style: Style, identity: int) -> Identity:
    """Return the person with the number ``identity`` in a style."""
    dice = Dice(seed, style.number, IDENTITY, identity)
    male, old = dice.between(0, 1), dice.within(style.ages)
    shapes = _shapes(dice, style, male, old)
    gains = {
        unit: (gain * dice.between(0.94, 1.06), gain * dice.between(0.94, 1.06))
        for unit in UNITS
        for gain in [dice.between(0.85, 1.13)]
    }
    rest = {name: dice.between(0, most) for name, most in _REST.items()}
    skin, hair = _skin_and_hair(dice, style, male > 0.5, old)
    eyes = Eyes(
        iris=dice.color(dice.of(_IRISES), 0.25),
        iris_size=dice.between(0.43, 0.50),
        pupil_size=dice.between(0.13, 0.24),
        white=dice.color((0.62, 0.58, 0.55), 0.08),
        enamel=dice.color((0.80, 0.74, 0.60), 0.12),
    )
    return Identity(
        shapes, MappingProxyType(gains), MappingProxyType(rest), old * dice.between(0.4, 1.0), skin, hair, eyes
    )


def _shapes(dice: Dice, style: Style, male: float, old: float) -> tuple[float, ...]:
    """Return the weights of the shape targets: a mixture of origins, sexes, ages and weights, and single features."""
    names = load_head().shapes.names
    shapes = [0.0] * len(names)
    shares = [dice.between(0, 1) ** 3 for _ in _ORIGINS]  # the cube makes one origin dominate
    fat = dice.around(0, 0.7)
    for index, name in enumerate(names):
        kind = (1 - male if "-female-" in name else male) * (old if "-old" in name else 1 - old)
        for origin, share in zip(_ORIGINS, shares, strict=True):
            if name.startswith(origin):
                shapes[index] = kind * share / (sum(shares) + 1e-6)
        if name.startswith("universal-"):
            shapes[index] = kind * max(0.0, fat if name.endswith("-maxweight") else -fat)
    both_sides: dict[str, float] = {}
    for index in head_shapes(style, names):
        drawn = max(0.0, dice.around(0.0, 2.2 * style.spread))
        stem = names[index].removeprefix("l-").removeprefix("r-")
        shapes[index] = both_sides.setdefault(stem, drawn) * dice.between(0.9, 1.1)
    return tuple(shapes)


def _skin_and_hair(dice: Dice, style: Style, masculine: bool, old: float) -> tuple[Skin, Hair]:
    place = dice.between(0, len(style.skins) - 1.001)
    light, dark, part = style.skins[int(place)], style.skins[int(place) + 1], place - int(place)
    red, green, blue = (a + (b - a) * part for a, b in zip(light, dark, strict=True))
    skin = dice.color((red, green, blue), 0.10)
    lip = dice.between(0.62, 0.9)
    made_up = not masculine and dice.happens(0.3)
    pink = 0.78 if masculine else 0.64
    lips = (skin[0] * lip, skin[1] * lip * pink, skin[2] * lip * pink)
    if made_up:
        lips = (0.35 * lips[0] + 0.20, 0.5 * lips[1], 0.6 * lips[2] + 0.02)
    # dark skin rarely has fair hair
    color = dice.color(dice.of(style.hairs if place < 2.6 else style.hairs[:3]), 0.2)
    if old > 0.6 and dice.happens(0.5):
        grey = dice.between(0.2, 0.8)
        color = (
            color[0] + (0.33 - color[0]) * grey,
            color[1] + (0.32 - color[1]) * grey,
            color[2] + (0.31 - color[2]) * grey,
        )
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
