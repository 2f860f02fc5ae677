"""Smooth noise in space, from a fixed lattice of random numbers, and hashed noise of single pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference_models.data.synthetic.compiled import compiled

_SIDE = 32
LATTICE: NDArray[np.float64] = np.random.default_rng(1872).integers(0, 256, (_SIDE,) * 3) / 127.5 - 1.0


@compiled
def smooth(low: float, high: float, x: float) -> float:
    """Return a smooth step from 0 at ``low`` to 1 at ``high``; ``low`` may be larger than ``high``."""
    t = min(1.0, max(0.0, (x - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@compiled
def noise(lattice: NDArray[np.float64], x: float, y: float, z: float) -> float:
    """Return noise between -1 and 1 that varies over about one unit of x, y and z."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y), z * z * (3.0 - 2.0 * z)
    i, j, k = int(fx) & 31, int(fy) & 31, int(fz) & 31
    i1, j1, k1 = (i + 1) & 31, (j + 1) & 31, (k + 1) & 31
    front: float = (lattice[i, j, k] * (1.0 - x) + lattice[i1, j, k] * x) * (1.0 - y) + (
        lattice[i, j1, k] * (1.0 - x) + lattice[i1, j1, k] * x
    ) * y
    back: float = (lattice[i, j, k1] * (1.0 - x) + lattice[i1, j, k1] * x) * (1.0 - y) + (
        lattice[i, j1, k1] * (1.0 - x) + lattice[i1, j1, k1] * x
    ) * y
    return front * (1.0 - z) + back * z


@compiled
def grain(seed: int, row: int, column: int) -> float:
    """Return the noise of one pixel, approximately normal with deviation 1, a function of the arguments only."""
    bits = (
        np.uint64(seed)
        + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)
        + np.uint64(column) * np.uint64(0xC2B2AE3D27D4EB4F)
    )
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    total = np.int64(0)
    for shift in range(0, 64, 16):
        total += np.int64((bits >> np.uint64(shift)) & np.uint64(0xFFFF))
    return (total - 131070) / 37837.0  # mean and deviation of the sum of four uniform 16-bit numbers
