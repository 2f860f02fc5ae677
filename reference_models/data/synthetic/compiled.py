"""The decorator of the compiled functions, and what to say where numba is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from reference_models.extras import load

P = ParamSpec("P")
R = TypeVar("R")
_numba = load("numba", package="numba", extra="synth")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled by numba when it is first called, and kept on the disk.

    No ``fastmath``: sums are not reassociated and no multiply and add are fused, so that every machine computes the
    same numbers.
    """
    result: Callable[P, R] = _numba.njit(cache=True, nogil=True)(function)
    return result
