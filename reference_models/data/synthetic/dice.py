"""Random draws that are the same on every machine and in every process.

Each generator is seeded with the user's seed, the style, the purpose, the identity and the frame, so that a picture
does not depend on the process that draws it or on the order. Only uniform numbers are used: those of numpy's generator
PCG64 are the same on every platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from reference_models.data.synthetic.looks import Color

T = TypeVar("T")
IDENTITY, SESSION, FRAME, LEVELS = range(4)
"""Purposes of a generator, part of its seed."""


class Dice:
    """A random generator.

    Args:
        *seed: Whole numbers; generators with different numbers are independent.
    """

    def __init__(self, *seed: int) -> None:
        self._numbers = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

    def between(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * float(self._numbers.random())

    def around(self, middle: float, most: float) -> float:
        """Return a number at most ``most`` away from ``middle``: ``middle`` plus the mean of three uniform draws."""
        return middle + most * (self.between(-1, 1) + self.between(-1, 1) + self.between(-1, 1)) / 3

    def of(self, several: Sequence[T]) -> T:
        """Return one element, all with the same probability."""
        return several[int(self._numbers.integers(len(several)))]

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, both included."""
        return int(self._numbers.integers(low, high + 1))

    def happens(self, chance: float) -> bool:
        """Return True with the probability ``chance``."""
        return float(self._numbers.random()) < chance

    def within(self, limits: tuple[float, float]) -> float:
        """Return a number from a range (low, high)."""
        return self.between(*limits)

    def color(self, color: Color, most: float) -> Color:
        """Return a colour near ``color``: its channels differ by at most about the fraction ``most``."""
        shared = 1 + self.around(0, most)
        red, green, blue = (max(0.002, channel * shared * (1 + self.around(0, most / 2))) for channel in color)
        return red, green, blue
