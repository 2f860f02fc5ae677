"""The head model: MakeHuman's head with the targets that make identities and the face units that move it.

Made by ``benchmarks.synthetic.asset.make_asset``; credits and licence (CC0) stand in ``CREDITS.md`` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ASSET = Path(__file__).with_name("head.npz")
PARTS = ("skin", "eye", "teeth", "tongue", "lash", "hair")
"""What a triangle is of, in the order of their numbers."""
MASKS = ("lips", "inside-mouth", "eyelids", "ears", "sky")
"""What is said of each vertex, 0 to 1; ``sky`` is the part of the surroundings that it sees. On teeth, ``lips`` is 1
for the upper ones."""
SKIN, EYE, TEETH, TONGUE, LASH, HAIR = range(len(PARTS))


@dataclass(frozen=True, eq=False)
class Targets:
    """Sparse displacements of the vertices, by name.

    Attributes:
        names: What they are called.
        start: Where the entries of each begin; one longer than ``names``.
        index: The vertex of each entry.
        delta: What is added to it, (N, 3), in thousandths of a decimetre.
    """

    names: tuple[str, ...]
    start: NDArray[np.int64]
    index: NDArray[np.int64]
    delta: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """The template and what moves it.

    Attributes:
        vertices: (V, 3), decimetres, float64: x to the subject's left, y up, z to the front.
        triangles: (T, 3), counter-clockwise seen from outside.
        parts: (T,), number of the part in :data:`PARTS`.
        masks: (V, 5), 0 to 1, in the order of :data:`MASKS`.
        shapes: What makes identities.
        units: The 52 face units.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    parts: NDArray[np.int64]
    masks: NDArray[np.float64]
    shapes: Targets
    units: Targets


@cache
def load_head() -> Head:
    """Return the head model, read once a process."""
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
