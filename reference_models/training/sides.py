"""The three sides of a run: faces to train on, to choose the best epoch by (validation), and to score (test)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reference_models.data.augmentation import augmentation
from reference_models.data.dataset import FaceDataset, Pictures
from reference_models.data.folds import Selection, Side, group_of, make_folds
from reference_models.data.manifest import make_manifest
from reference_models.data.records import Record
from reference_models.training.persons import Persons, check_unknown, hashed
from reference_models.training.recipes import Recipe


@dataclass(frozen=True)
class Sides:
    """Training, validation and test faces of a run.

    Attributes:
        train: Training side, with the recipe's augmentation.
        validation: Validation side, by which the best epoch is chosen; test-time transforms only.
        test: Test side; test-time transforms only.
        fingerprint: Hash of the manifest that lists the persons of each side, with the number of the fold.
        others: Further faces to score, by name, such as synthetic faces in another style.
        population: Name of the dataset that the persons belong to.
        shown: Picture to the name of its person, for pictures whose record names the person differently.
        source: Origin of the faces as plain values, for the model's record.

    Raises:
        ValueError: If a person is on the training side and on another, or is scored while on the validation side.
    """

    train: FaceDataset
    validation: FaceDataset
    test: FaceDataset
    fingerprint: str
    others: Mapping[str, FaceDataset] = field(default_factory=dict)
    population: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for scored in (self.test, *self.others.values()):
            check_unknown(self.persons, hashed(self.population, scored.records, self.shown))
        trained, chosen_by = (set(map(group_of, side.records)) for side in (self.train, self.validation))
        if both := trained & chosen_by:
            raise ValueError(f"{len(both)} persons are both trained on and chosen by")

    @cached_property
    def persons(self) -> Persons:
        """Name of each side to the hashes of its persons."""
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: hashed(self.population, side.records, self.shown) for name, side in sides.items()}


def make_sides(
    dataset: str,
    records: Sequence[Record],
    pictures: Pictures,
    recipe: Recipe,
    *,
    fold: int = 1,
    selection: Selection = "validation",
) -> Sides:
    """Return the sides of one fold.

    Args:
        dataset: Name of the dataset's layout, which decides the folds.
        records: Records of the dataset; those that lack a label of the recipe are left out.
        pictures: Source of the pictures.
        recipe: Labels, threshold, image size and augmentation.
        fold: Number of the fold, from 1.
        selection: Side on which the best epoch is chosen.

    Raises:
        ValueError: If no record has the recipe's labels, or there is no such fold.
    """
    usable = [record for record in records if record.has(recipe.labels)]
    if not usable:
        raise ValueError(
            f"records must have the labels of recipe {recipe.name!r}, {recipe.labels}, and none of them does"
        )
    folds = make_folds(dataset, usable, selection=selection)
    if isinstance(fold, bool) or not isinstance(fold, int) or not 1 <= fold <= len(folds):
        raise ValueError(f"fold must be from 1 to {len(folds)}, got {fold!r}")
    manifest = make_manifest(dataset, usable, recipe.labels, folds, threshold=recipe.threshold, selection=selection)

    def side(name: Side) -> FaceDataset:
        return faces(folds[fold - 1].side(usable, name), pictures, recipe, augmented=name == "train")

    return Sides(
        side("train"),
        side("validation"),
        side("test"),
        f"{manifest.fingerprint}/{fold}",
        population=dataset,
    )


def faces(records: Sequence[Record], pictures: Pictures, recipe: Recipe, *, augmented: bool = False) -> FaceDataset:
    """Return a dataset of faces with a recipe's labels and transforms.

    Args:
        records: Records of the faces; those that lack a label of the recipe are left out.
        pictures: Source of the pictures.
        recipe: Labels, threshold, image size and augmentation.
        augmented: Whether to apply the training transforms instead of the test-time ones.
    """
    transforms = augmentation(recipe.augmentation, recipe.image_size)
    return FaceDataset(
        pictures,
        [record for record in records if record.has(recipe.labels)],
        recipe.labels,
        threshold=recipe.threshold,
        transform=transforms.train if augmented else transforms.test,
    )
