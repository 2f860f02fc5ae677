"""How a face and its surroundings look: plain tuples of numbers, as the compiled shader takes them.

Colours are linear, 0 to 1, red, green, blue; lengths are decimetres of the head's template.
"""

from __future__ import annotations

from typing import NamedTuple

Color = tuple[float, float, float]
MEAN_BROW_ARCH = 0.045
"""How far a brow's middle lies above its ends, decimetres, where the landmarks of the head model were found."""


class Skin(NamedTuple):
    """Skin, lips and what grows on them."""

    color: Color
    lips: Color
    redness: float  # of cheeks, nose and ears
    mottle: float  # contrast of slow and fast unevenness
    freckles: float
    shine: float
    stubble: float  # 0 none .. 1 a short beard
    shift: Color  # moves the noise: no two skins alike


class Hair(NamedTuple):
    """Hair of the head and of the brows."""

    color: Color
    line: float  # height of the hairline above the usual one
    peak: float  # how far it comes down in the middle
    volume: float  # thickness over the skull
    density: float  # 0 bald .. 1
    long: bool
    streaks: float
    brow_color: Color
    brow_height: float
    brow_arch: float
    brow_thickness: float
    brow_density: float
    brow_length: float


class Eyes(NamedTuple):
    """Eyeballs and teeth."""

    iris: Color
    iris_size: float  # sine of the angle that the iris takes
    pupil_size: float
    white: Color
    enamel: Color


class Creases(NamedTuple):
    """Depth of lines in the skin, 0 to 1; action units and age make them."""

    forehead: float
    glabella: float
    nose: float
    crow: float
    cheek: float
    chin: float
    lid: float


class Light(NamedTuple):
    """A lamp, what comes from everywhere, and a lamp from behind."""

    key_direction: Color
    key: Color
    sky: Color
    ground: Color
    rim_direction: Color
    rim: Color


class Backdrop(NamedTuple):
    """What is behind, and the clothes."""

    top: Color
    bottom: Color
    blobs: tuple[tuple[float, float, float, float, float, float], ...]  # x, y, radius in frame sides, then a colour
    texture: float
    cloth: Color
    collar: float  # height of the collar
    weave: float


class Camera(NamedTuple):
    """The camera: a perspective view, exposure and noise."""

    distance: float  # decimetres from the head
    side: float  # decimetres that the frame shows at the face
    x: float  # what is in the frame's middle
    y: float
    exposure: float
    balance: Color
    contrast: float
    noise: float
    seed: int
