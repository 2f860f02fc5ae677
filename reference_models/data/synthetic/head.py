"""The head model: MakeHuman's head with shape targets, which make identities, and face units, which move the face.

The file is written by ``benchmarks.synthetic.asset.make_asset``; for credits and licence (CC0) see ``CREDITS.md`` in
the same folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ASSET = Path(__file__).with_name("head.npz")
PARTS = ("skin", "eye", "teeth", "tongue", "lash", "hair")
"""Part of the head that a triangle belongs to; the index is its number."""
MASKS = ("lips", "inside-mouth", "eyelids", "ears", "sky")
"""Masks of the vertices, 0 to 1; ``sky`` is the unoccluded fraction of the surroundings. On teeth, ``lips`` is 1 for
the upper teeth."""
SKIN, EYE, TEETH, TONGUE, LASH, HAIR = range(len(PARTS))


@dataclass(frozen=True, eq=False)
class Targets:
    """Named sparse displacements of the vertices (morph targets).

    Attributes:
        names: Names of the T targets.
        start: (T + 1,): the entries of target t are ``start[t]`` to ``start[t + 1]``.
        index: (N,), vertex of each entry.
        delta: (N, 3), displacement of each entry, in thousandths of a decimetre.
    """

    names: tuple[str, ...]
    start: NDArray[np.int64]
    index: NDArray[np.int64]
    delta: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """The template mesh and its targets.

    Attributes:
        vertices: (V, 3), decimetres, float64: x to the subject's left, y up, z to the front.
        triangles: (T, 3), vertex indices, counter-clockwise seen from outside.
        parts: (T,), index of each triangle's part in :data:`PARTS`.
        masks: (V, 5), 0 to 1, in the order of :data:`MASKS`.
        shapes: Targets that make identities.
        units: Targets of the 52 face units.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    parts: NDArray[np.int64]
    masks: NDArray[np.float64]
    shapes: Targets
    units: Targets


@cache
def load_head() -> Head:
    """Return the head model; every process reads the file once."""
    with np.load(ASSET, allow_pickle=False) as arrays:
        shapes, units = (
            Targets(
                tuple(str(name) for name in arrays[f"{kind}_names"]),
                arrays[f"{kind}_start"].astype(np.int64),
                arrays[f"{kind}_index"].astype(np.int64),
                arrays[f"{kind}_delta"].astype(np.float64),
            )
            for kind in ("shape", "unit")
        )
        return Head(
            arrays["vertices"] / 10_000.0,
            arrays["triangles"].astype(np.int64),
            arrays["parts"].astype(np.int64),
            arrays["masks"] / 255.0,
            shapes,
            units,
        )
