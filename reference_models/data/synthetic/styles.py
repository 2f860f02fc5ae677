"""Styles of synthetic faces: ``studio`` to train on, ``held-out`` to test generalisation.

The two styles share only the head model and its action units: their identities use different shape targets, and skin,
light, camera, brows and background come from ranges that overlap little or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from reference_models.data.synthetic.looks import Color

Range = tuple[float, float]


def linear(code: str) -> Color:
    """Return the linear colour of a hexadecimal code such as ``e0b090``, with a display gamma of 2."""
    red, green, blue = (int(code[start : start + 2], 16) / 255.0 for start in (0, 2, 4))
    return red * red, green * green, blue * blue


@dataclass(frozen=True)
class Style:
    """The ranges that a style draws from.

    Attributes:
        name: Key of the style.
        number: Its number in the seeds of random draws; must never change.
        shapes: Prefixes of the names of its shape targets; empty for all targets that ``held-out`` does not use.
        ages: Weight of the targets of old faces.
        spread: Size of the deviations from the average head.
        skins: Colours of skin, from light to dark.
        hairs: Colours of hair.
        mottle: Contrast of the skin's unevenness.
        shine: Gloss of the skin.
        brow_thickness: Half the height of a brow, decimetres.
        brow_arch: Height of a brow's middle above its ends, decimetres.
        key: Strength of the key lamp.
        key_side: Direction of the key lamp, x over z.
        key_height: Direction of the key lamp, y over z.
        sky: Strength of the ambient light.
        warmth: Factor on red, and divisor of blue, of the key lamp.
        distance: Distance of the camera, decimetres.
        side: Side of the frame at the face, decimetres.
        contrast: Contrast of the picture.
        noise: Deviation of the picture's noise, grey levels.
        backdrop: Darkest and brightest background.
    """

    name: str
    number: int
    shapes: tuple[str, ...]
    ages: Range
    spread: float
    skins: tuple[Color, ...]
    hairs: tuple[Color, ...]
    mottle: Range
    shine: Range
    brow_thickness: Range
    brow_arch: Range
    key: Range
    key_side: Range
    key_height: Range
    sky: Range
    warmth: Range
    distance: Range
    side: Range
    contrast: Range
    noise: Range
    backdrop: Range


_HELD_OUT_SHAPES = (
    "asym-",
    "head-",
    "chin-",
    "forehead-",
    "nose-s",
    "nose-w",
    "mouth-s",
    "mouth-u",
    "l-eye-s",
    "r-eye-s",
)

_STYLES = MappingProxyType(
    {
        style.name: style
        for style in (
            Style(
                name="studio",
                number=0,
                shapes=(),
                ages=(0.0, 0.8),
                spread=0.42,
                skins=tuple(map(linear, ("f0d0bc", "e6bfa4", "d9aa88", "c08f6c", "9a6a4a", "6e4a36", "4c3226"))),
                hairs=tuple(map(linear, ("17120f", "2a1c14", "45301f", "6b4a2c", "9a7444", "7a3a1e", "8c8680"))),
                mottle=(0.07, 0.19),
                shine=(0.6, 1.3),
                brow_thickness=(0.028, 0.052),
                brow_arch=(0.02, 0.075),
                key=(0.75, 1.15),
                key_side=(-0.8, 0.8),
                key_height=(0.05, 0.9),
                sky=(0.30, 0.55),
                warmth=(0.92, 1.25),
                distance=(9.0, 16.0),
                side=(2.15, 2.6),
                contrast=(-0.10, 0.25),
                noise=(0.6, 2.5),
                backdrop=(0.05, 0.75),
            ),
            Style(
                name="held-out",
                number=1,
                shapes=_HELD_OUT_SHAPES,
                ages=(0.5, 1.0),
                spread=0.25,
                skins=tuple(map(linear, ("f4dccf", "eac9a8", "c99a74", "a87a58", "8c6248", "6e5340", "5a4436"))),
                hairs=tuple(map(linear, ("0e0c0c", "352318", "57422e", "b08c5c", "b9b4ac", "5a2314"))),
                mottle=(0.02, 0.08),
                shine=(1.5, 2.4),
                brow_thickness=(0.017, 0.028),
                brow_arch=(-0.01, 0.03),
                key=(0.85, 1.25),
                key_side=(0.8, 1.3),
                key_height=(0.2, 1.1),
                sky=(0.22, 0.36),
                warmth=(0.78, 0.92),
                distance=(6.0, 8.5),
                side=(2.6, 2.9),
                contrast=(0.2, 0.4),
                noise=(3.0, 6.0),
                backdrop=(0.0, 0.25),
            ),
        )
    }
)


def list_styles() -> list[str]:
    """Return the names of the styles, sorted."""
    return sorted(_STYLES)


def style(name: str) -> Style:
    """Return a style by name.

    Raises:
        ValueError: If there is no style of that name.
    """
    if name not in _STYLES:
        raise ValueError(f"style must be one of {', '.join(list_styles())}, got {name!r}")
    return _STYLES[name]


def head_shapes(style: Style, names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the indices of a style's shape targets, without those of origin, sex, age and weight."""
    if style.shapes:
        return tuple(index for index, name in enumerate(names) if name.startswith(style.shapes))
    macros = ("african-", "asian-", "caucasian-", "universal-")
    return tuple(index for index, name in enumerate(names) if not name.startswith((*_HELD_OUT_SHAPES, *macros)))
