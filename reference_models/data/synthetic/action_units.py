"""Action units as weights of the head model's face units, and their combinations in expressions.

P. Ekman, W. V. Friesen, J. C. Hager, "Facial Action Coding System", 2002; the combinations of the emotions follow
EMFACS, W. V. Friesen and P. Ekman, 1983. The mapping from action units to face units was chosen for this module:
MakeHuman's face units are those of ARKit, designed for animation and not for FACS.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RIG: Mapping[int, Mapping[str, float]] = MappingProxyType(
    {
        1: {"browInnerUp": 1.0},
        2: {"browOuterUp": 0.75, "browInnerUp": 0.15},
        4: {"browDown": 1.0},
        5: {"eyeWide": 1.0},
        6: {"cheekSquint": 0.8, "eyeSquint": 0.3},
        7: {"eyeSquint": 1.0},
        9: {"noseSneer": 1.5, "mouthUpperUp": 0.3},
        10: {"mouthUpperUp": 0.9},
        12: {"mouthSmile": 0.85, "mouthUpperUp": 0.15},
        14: {"mouthDimple": 1.0},
        15: {"mouthFrown": 1.0},
        16: {"mouthLowerDown": 1.0},
        17: {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.3},
        20: {"mouthStretch": 1.0},
        23: {"mouthRollLower": 0.45, "mouthRollUpper": 0.35, "mouthPucker": 0.25},
        24: {"mouthPress": 1.0, "mouthRollUpper": 0.2},
        25: {"mouthLowerDown": 0.8, "mouthUpperUp": 0.6, "jawOpen": 0.07},
        26: {"jawOpen": 0.42},
        27: {"jawOpen": 1.0},
    }
)
"""Action unit to the weights of its face units at level 5; a face unit without ``Left`` or ``Right`` moves both."""
UNITS = tuple(sorted(RIG))
"""The action units of a synthetic face; every frame has a level for each."""
MAX_LEVEL = 5

EXPRESSIONS: Mapping[str, tuple[tuple[int, ...], ...]] = MappingProxyType(
    {
        "anger": ((4, 5, 7, 23), (4, 7, 24), (4, 5, 7, 17, 24), (4, 5, 7, 10, 25, 26)),
        "disgust": ((9, 15), (9, 10, 17), (9, 16, 25), (4, 9, 10, 15, 17)),
        "fear": ((1, 2, 4, 5, 20, 25), (1, 2, 4, 5, 7, 20, 26, 25), (1, 4, 5, 20, 25)),
        "happiness": ((6, 12, 25), (6, 12), (12, 25), (6, 12, 25, 26)),
        "sadness": ((1, 4, 15), (1, 4, 15, 17), (1, 4, 6, 15), (1, 15, 17)),
        "surprise": ((1, 2, 5, 25, 26), (1, 2, 5, 25, 27), (1, 2, 25, 27)),
        "neutral": ((),),
    }
)
"""Expression to the combinations of action units that show it."""

UPPER = ((), (), (1,), (2,), (1, 2), (4,), (1, 4), (1, 2, 4), (1, 2, 5), (5,), (6,), (7,), (4, 7), (6, 7), (9,), (4, 9))
"""Combinations of action units of the upper half of a face in frames without an expression."""
LOWER = (
    (),
    (),
    (12,),
    (12, 25),
    (12, 25, 26),
    (15,),
    (15, 17),
    (17,),
    (20,),
    (20, 25),
    (25,),
    (25, 26),
    (25, 27),
    (23,),
    (24,),
    (17, 23),
    (17, 24),
    (10,),
    (10, 25),
    (14,),
    (16, 25),
)
"""Combinations of action units of the lower half."""
