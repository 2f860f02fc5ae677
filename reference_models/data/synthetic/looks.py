"""The appearance of a face and its surroundings, as plain tuples of numbers that the compiled shader takes.

Colours are linear RGB, 0 to 1; lengths are in decimetres, in the coordinates of the head's template.
"""

from __future__ import annotations

from typing import NamedTuple

Color = tuple[float, float, float]
MEAN_BROW_ARCH = 0.045
"""Height of a brow's middle above its ends in decimetres, in the picture from which landmarks were computed."""


class Skin(NamedTuple):
    """Skin, lips and beard."""

    color: Color
    lips: Color
    redness: float  # of cheeks, nose and ears
    mottle: float  # contrast of coarse and fine unevenness
    freckles: float
    shine: float
    stubble: float  # 0 none .. 1 a short beard
    shift: Color  # offset of the noise, so that no two skins are alike


class Hair(NamedTuple):
    """Hair of the head and of the brows."""

    color: Color
    line: float  # height of the hairline above the average
    peak: float  # how far the hairline comes down in the middle
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
    iris_size: float  # radius of the iris over that of the eyeball
    pupil_size: float
    white: Color
    enamel: Color


class Creases(NamedTuple):
    """Depth of lines in the skin, 0 to 1; they come from action units and age."""

    forehead: float
    glabella: float
    nose: float
    crow: float
    cheek: float
    chin: float
    lid: float


class Light(NamedTuple):
    """The key lamp, ambient light from sky and ground, and a rim lamp from behind."""

    key_direction: Color
    key: Color
    sky: Color
    ground: Color
    rim_direction: Color
    rim: Color


class Backdrop(NamedTuple):
    """Background and clothes."""

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
    side: float  # side of the frame in decimetres, at the distance of the face
    x: float  # coordinates of the frame's centre
    y: float
    exposure: float
    balance: Color
    contrast: float
    noise: float
    seed: int
