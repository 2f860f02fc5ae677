"""Who of a dataset is trained on, chosen by and scored, with the recipe's labels and augmentation."""

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
    """What a run trains on, chooses the best epoch by, and is scored on.

    Attributes:
        train: With the recipe's augmentation.
        validation: Without.
        test: Without.
        fingerprint: Hash of the manifest that says who is on which side, and of the number of the fold.
        others: Further faces to score, by name, without: another style of synthetic faces.
        population: Name of the dataset whose persons these are.
        shown: Whom a picture shows, where the population has another name for a person than the records.
        source: Where the faces come from, as plain values, for the model's record.

    Raises:
        ValueError: If somebody is trained on and scored, or chosen by and scored on another side.
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
        """Hashes of the persons of each side."""
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
        dataset: Name of the layout, which decides the folds.
        records: What it holds; those that lack a label of the recipe are left out.
        pictures: Where the pictures come from.
        recipe: Labels, threshold, image size and augmentation.
        fold: Number of the fold, from 1.
        selection: On which side the best epoch is chosen.

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
    """Return faces as a recipe's network takes them.

    Args:
        records: Those that lack a label of the recipe are left out.
        pictures: Where the pictures come from.
        recipe: Labels, threshold, image size and augmentation.
        augmented: Whether they are augmented as in training.
    """
    transforms = augmentation(recipe.augmentation, recipe.image_size)
    return FaceDataset(
        pictures,
        [record for record in records if record.has(recipe.labels)],
        recipe.labels,
        threshold=recipe.threshold,
        transform=transforms.train if augmented else transforms.test,
    )
