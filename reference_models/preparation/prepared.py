"""Reads the results of ``reference-models prepare``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from reference_models.faces.difference import Pixels
from reference_models.faces.geometry import Points, Transform
from reference_models.faces.images import RGBImage, read_image
from reference_models.preparation.items import PreparationError
from reference_models.preparation.preparation import Preparation
from reference_models.preparation.store import changes, load_manifest


@dataclass(frozen=True, eq=False)
class PreparedFace:
    """One prepared face.

    Attributes:
        image: Aligned face (size, size, 3), uint8.
        points: Landmarks in the aligned face (N, 2), float64, (x, y) in pixels.
        transform: Affine matrix (2, 3) from the photograph to the aligned face, float64.
        center_row: Row of the face's centre, for :class:`attnzoo.RegionMask`; None with five landmarks only.
        levels: Grey difference to the neutral frame inside the face (size, size), uint8; None without neutral frame.
    """

    image: RGBImage
    points: Points
    transform: Transform
    center_row: float | None
    levels: Pixels | None


class Prepared(Mapping[str, PreparedFace]):
    """The prepared faces of a folder, by the paths of their photographs.

    Args:
        folder: Output folder of ``reference-models prepare``.

    Raises:
        PreparationError: If it holds no finished preparation, or its manifest is damaged or names a path outside it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = load_manifest(self.folder)
        if manifest is None:
            raise PreparationError(f"{self.folder} holds no preparation")
        if not manifest.complete:
            raise PreparationError(f"the preparation in {self.folder} is not finished; run it again to go on")
        self.identity: Mapping[str, Any] = manifest.identity
        self.failures: Mapping[str, str] = manifest.failures
        self._files = {name: entry.files for name, entry in manifest.entries.items() if entry.files}

    def check(self, preparation: Preparation) -> None:
        """Check that the faces were prepared as a network needs them.

        A folder with difference levels also serves a network that takes no maps.

        Raises:
            PreparationError: If the options differ; the message names them.
        """
        stored = self.identity.get("preparation")
        if not isinstance(stored, Mapping):
            raise PreparationError(f"{self.folder} was prepared by another version: prepare it anew")
        ignored = set() if preparation.difference else {"difference", "mask_margin", "mask_relative"}
        needed = {name: value for name, value in preparation.pixels().items() if name not in ignored}
        if differing := changes({name: stored.get(name) for name in needed}, needed):
            raise PreparationError(
                f"{self.folder} was prepared in another way than the network takes ({', '.join(differing)}): prepare"
                " into another folder, with --for and the model, or with the same --size"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the photographs with a face, sorted."""
        return tuple(self._files)

    def has_levels(self, name: str) -> bool:
        """Return whether a photograph's face has difference levels."""
        return f"levels/{name}.png" in self._files.get(name, ())

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __getitem__(self, name: str) -> PreparedFace:
        """Return the face of a photograph.

        Raises:
            ImageError: If a file of its pixels is missing or damaged.
            KeyError: If there is no such photograph, or it has no face.
            PreparationError: If its landmark file is missing or damaged.
        """
        files = self._files[name]
        points, transform, center_row = _numbers(self.folder / f"points/{name}.json")
        levels = f"levels/{name}.png"
        return PreparedFace(
            image=read_image(self.folder / f"faces/{name}.png"),
            points=points,
            transform=transform,
            center_row=center_row,
            levels=read_image(self.folder / levels)[..., 0] if levels in files else None,
        )


def _numbers(path: Path) -> tuple[Points, Transform, float | None]:
    try:
        numbers = json.loads(path.read_bytes())
        points = np.array(numbers["points"], dtype=np.float64)
        transform = np.array(numbers["transform"], dtype=np.float64)
        center_row = None if numbers["center_row"] is None else float(numbers["center_row"])
    except OSError as error:
        raise PreparationError(f"{path} cannot be read: {error.strerror}") from error
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise PreparationError(f"{path} is damaged: {error}") from error
    finite = np.isfinite(points).all() and np.isfinite(transform).all() and isfinite(center_row or 0)
    if points.ndim != 2 or points.shape[1] != 2 or transform.shape != (2, 3) or not finite:
        raise PreparationError(f"{path} is damaged: points (N, 2), transform (2, 3), centre row must be finite numbers")
    return points, transform, center_row
