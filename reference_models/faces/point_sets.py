"""The sets of landmarks of detectors and datasets, and the selection of a smaller set from a larger one.

Each set is a subset of the next larger one, so that a selection is exact:

- 68: iBUG's, dlib's and CK+'s. Jaw 0 to 16, brows 17 to 26, nose 27 to 35, eyes 36 to 47, mouth 48 to 67; the subject's
  right, which is left in the picture, comes first.
- 66: DISFA's. The 68 without the two inner corners of the mouth, 60 and 64.
- 49: the 66 without the jaw.
- 5: dlib's small model. Outer and inner corner of the subject's left eye, of the right eye, and the nose base.

A larger set cannot be computed from a smaller one.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from reference_models.faces.geometry import Points, as_points

NOSE_ROOT, NOSE_TIP, CHIN = 27, 30, 8
"""Indices in the sets of 68 and 66 points."""
JAW, RIGHT_BROW, LEFT_BROW = slice(0, 17), slice(17, 22), slice(22, 27)
"""Slices of the sets of 68 and 66 points."""
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 36, 45
"""Indices of the outer corners of the eyes in the sets of 68 and 66 points."""
FIVE_FROM_68 = (45, 42, 36, 39, 33)
"""Indices of dlib's five points in the set of 68."""
CHIP_TEMPLATE: Points = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""The five points in dlib's face chip, as fractions of the chip without padding (from its get_face_chip_details)."""

_INNER_MOUTH_CORNERS = {60, 64}
_IN_68 = MappingProxyType(
    {
        68: tuple(range(68)),
        66: tuple(number for number in range(68) if number not in _INNER_MOUTH_CORNERS),
        49: tuple(number for number in range(17, 68) if number not in _INNER_MOUTH_CORNERS),
        5: FIVE_FROM_68,
    }
)
COUNTS = tuple(sorted(_IN_68))
"""Number of points of each known set."""


def indices(source: int, target: int) -> tuple[int, ...]:
    """Return the indices of the points of the set ``target`` in the set ``source``; sets are given by their size.

    Raises:
        ValueError: If a set is unknown, or ``target`` has points that ``source`` lacks.

    Example:
        >>> indices(49, 5)
        (28, 25, 19, 22, 16)
    """
    for name, count in (("source", source), ("target", target)):
        if count not in _IN_68:
            raise ValueError(f"{name} must be one of {', '.join(map(str, COUNTS))} points, got {count!r}")
    if target > source:
        raise ValueError(f"target must be at most the source's {source} points, got {target}: none are invented")
    places = {number: place for place, number in enumerate(_IN_68[source])}
    return tuple(places[number] for number in _IN_68[target])


def select(points: ArrayLike, count: int) -> Points:
    """Return the set of ``count`` points (count, 2) from a larger set (N, 2), N one of 5, 49, 66, 68.

    Raises:
        ValueError: If N is not one of these, the points are not finite, or ``count`` is larger than N.
    """
    array = as_points("points", points, COUNTS)
    return array[list(indices(len(array), count))]


def point(points: Points, number: int) -> Points:
    """Return the point (2,) with the index ``number`` in the set of 68, from a set of 68, 66, 49 or 5 points.

    Raises:
        ValueError: If the set does not contain it.
    """
    members = _IN_68.get(len(points), ())
    if number not in members:
        having = [str(count) for count, numbers in _IN_68.items() if number in numbers]
        raise ValueError(f"points must hold landmark {number}, as {' or '.join(having)} points do, got {len(points)}")
    selected: Points = points[members.index(number)]
    return selected
