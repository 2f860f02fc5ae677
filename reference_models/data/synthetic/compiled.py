"""The decorator of the functions compiled by numba; a missing numba raises ``MissingExtraError`` with the extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from reference_models.extras import load

P = ParamSpec("P")
R = TypeVar("R")
_numba = load("numba", package="numba", extra="synth")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled by numba at its first call, with the machine code cached on disk.

    Without ``fastmath``, so that numba neither reassociates sums nor fuses multiply and add: every machine computes the
    same numbers.
    """
    result: Callable[P, R] = _numba.njit(cache=True, nogil=True)(function)
    return result
