"""The origin of a run's faces: synthetic faces, or a prepared dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reference_models.checks import one_of
from reference_models.data.dataset import Pictures
from reference_models.data.folds import Selection
from reference_models.data.layouts import list_layouts, read
from reference_models.data.records import Record
from reference_models.data.tree import SYNTHETIC as MANIFEST
from reference_models.preparation.pictures import PreparedPictures
from reference_models.training.recipes import Recipe
from reference_models.training.sides import Sides, faces, make_sides

SYNTHETIC = "synthetic"
HELD_OUT = "held-out"
PLAIN = ("data", "fold", "selection", "identities", "frames", "style", "data_seed")
"""Fields of :class:`Source` that are stored in a model's record."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The faces of a run.

    Attributes:
        data: ``synthetic``, or the name of a dataset's layout.
        root: Folder of the user's copy of the dataset; None for synthetic faces.
        prepared: Output folder of ``reference-models prepare`` for it; None for synthetic faces.
        fold: Number of the fold, from 1.
        selection: Side on which the best epoch is chosen.
        identities: Number of synthetic persons.
        frames: Number of expressive frames, or portraits, of each synthetic person.
        style: Rendering style of the synthetic faces.
        unseen: Number of further synthetic persons, in the held-out style, that are only scored.
        data_seed: Seed of the synthetic persons.
        kept: Folder that caches rendered faces for later runs; None caches none.
    """

    data: str = SYNTHETIC
    root: Path | None = None
    prepared: Path | None = None
    fold: int = 1
    selection: Selection = "validation"
    identities: int = 2000
    frames: int = 8
    style: str = "studio"
    unseen: int = 0
    data_seed: int = 0
    kept: Path | None = None

    def __post_init__(self) -> None:
        one_of("data", self.data, (SYNTHETIC, *list_layouts()))
        if self.unseen and (self.data != SYNTHETIC or self.style == HELD_OUT):
            raise ValueError(f"unseen must be 0 unless faces of another style than {HELD_OUT} are rendered")
        folders = [name for name in ("root", "prepared") if getattr(self, name) is not None]
        if self.data == SYNTHETIC and folders:
            raise ValueError(f"{' and '.join(folders)} must be left out for synthetic faces")
        if self.data != SYNTHETIC and len(folders) < 2:
            raise ValueError(
                f"root and prepared must be given for {self.data}: your copy, and what 'prepare' made of it"
            )

    def plain(self) -> dict[str, Any]:
        """Return the fields that determine the division into sides, as plain values for JSON, without paths."""
        return {name: getattr(self, name) for name in PLAIN}

    def sides(self, recipe: Recipe, *, on_progress: Callable[[int, int], None] | None = None) -> Sides:
        """Return the training, validation and test side for a recipe.

        Args:
            recipe: Labels, image size and alignment.
            on_progress: Is called with the number of faces rendered so far and the total.

        Raises:
            DataError: If the copy of the dataset cannot be read, or has errors.
            PreparationError: If it was not prepared, or differently than the recipe needs.
            ValueError: If the data do not fit the recipe.
        """
        if self.data == SYNTHETIC:
            records, pictures = self._rendered(recipe, on_progress, self.style, self.identities)
        else:
            records, pictures = self._prepared(recipe)
        sides = make_sides(self.data, records, pictures, recipe, fold=self.fold, selection=self.selection)
        sides = replace(sides, source=self.plain(), **self._synthetic_persons())
        if not self.unseen:
            return sides
        records, pictures = self._rendered(recipe, on_progress, HELD_OUT, self.unseen)
        return replace(sides, others={HELD_OUT: faces(records, pictures, recipe)})

    def _synthetic_persons(self) -> dict[str, Any]:
        """Return ``population`` and ``shown`` of :class:`Sides` if the dataset folder holds synthetic faces, else {}.

        In a dataset's layout the synthetic persons have other names than in the synthetic population.
        """
        if self.root is None or not (self.root / MANIFEST).exists():
            return {}
        from reference_models.data.synthetic import shown

        return {"population": SYNTHETIC, "shown": shown(self.root)}

    def _rendered(
        self, recipe: Recipe, on_progress: Callable[[int, int], None] | None, style: str, identities: int
    ) -> tuple[list[Record], Pictures]:
        from reference_models.data.synthetic import plan
        from reference_models.training.rendered import RenderedFaces

        kind = "frames" if recipe.labels.task == "action units" else "portraits"
        shots = plan(kind, identities=identities, frames=self.frames, seed=self.data_seed, style_name=style)
        pictures = RenderedFaces(
            shots,
            recipe.faces,
            on_progress=None if on_progress is None else lambda done: on_progress(done, len(shots)),
            kept=self.kept,
        )
        return list(pictures.records), pictures

    def _prepared(self, recipe: Recipe) -> tuple[list[Record], Pictures]:
        if self.root is None or self.prepared is None:
            raise ValueError(f"root and prepared must be given for {self.data}")
        pictures = PreparedPictures(self.prepared, recipe.faces)
        return [record for record in read(self.data, self.root).records if pictures.has(record)], pictures
