"""Budgets for testing the claims: image sizes, widths, epochs, persons and replicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from reference_models.papers.claims.claim import Variant
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.schedules import Cosine


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Sizes of the data and of the networks, and the number of replicates.

    Attributes:
        name: Key in :data:`BUDGETS`.
        meaning: What it is for, for people.
        identities: Number of synthetic persons in a replicate.
        frames: Number of expressive frames, or portraits, of each person.
        replicates: Recipe to the number of replicates of its variants.
        overrides: Shell pattern of variant names to their number of replicates, instead of ``replicates``.
        changes: Recipe to the fields that are changed in it for all of its variants.
    """

    name: str
    meaning: str
    identities: int
    frames: int
    replicates: Mapping[str, int]
    overrides: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any]]

    def count(self, variant: Variant) -> int:
        """Return the number of replicates of a variant."""
        single = [count for pattern, count in self.overrides.items() if fnmatchcase(variant.name, pattern)]
        return single[0] if single else self.replicates[variant.recipe]

    def recipe(self, variant: Variant) -> Recipe:
        """Return a variant's recipe: the paper's, changed by the budget, then by the variant.

        A variant with another network than the recipe's starts without the recipe's network options.
        """
        recipe = self.base(variant)
        if "network" in variant.changes:
            recipe = replace(recipe, network=variant.changes["network"], options={})
        return recipe.changed(**variant.changes)

    def base(self, variant: Variant) -> Recipe:
        """Return the recipe that all variants of one paper share: labels, image size, data."""
        return RECIPES[variant.recipe].changed(**self.changes[variant.recipe])


_COMMON: Mapping[str, Any] = {
    "augmentation": "moved",
    "sampling": "shuffled",
    "batches": None,
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "schedule": Cosine(),
    "patience": None,
}
_UNITS: Mapping[str, Any] = {**_COMMON, "image_size": 64, "learned": "level", "monitor": "icc", "epochs": 4}
_MAPS = {"map_thresholds": (8.0, 12.0, 18.0, 26.0, 38.0), "options": {"top_width": 256}}
_TRA_NET = {"version": "v1", "width": 16, "freeze": False}
_SMALL: Mapping[str, Mapping[str, Any]] = {
    "tra-net": {**_UNITS, "batch_size": 32, "epochs": 14, "channels_last": True, "options": _TRA_NET},
    "cednn": {**_UNITS, **_MAPS},
    "dba-net": {**_COMMON, "image_size": 48, "epochs": 5, "options": {"width": 16}},
    "lla-net": {**_COMMON, "image_size": 48, "epochs": 6, "options": {"width": 16}},
}
"""The recipes for synthetic faces with fewer epochs and persons; copied here, so that changes elsewhere leave the
stored results valid."""
_SMOKE = {"image_size": 32, "batch_size": 4, "epochs": 1}

BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {
        budget.name: budget
        for budget in (
            Budget(
                name="smoke",
                meaning="a minute for a claim: shows that everything runs, and decides nothing",
                identities=9,
                frames=2,
                replicates=dict.fromkeys(_SMALL, 1),
                changes={name: {**values, **_SMOKE} for name, values in _SMALL.items()},
            ),
            Budget(
                name="small",
                meaning="two cores, about two hours: small images, narrow networks but for CEDNN and its rivals",
                identities=600,
                frames=6,
                replicates={"tra-net": 5, "cednn": 5, "dba-net": 5, "lla-net": 10},
                overrides={"cednn-maps?-se": 6, "hog-*": 3, "mobilenet-*": 1},
                changes=_SMALL,
            ),
            Budget(
                name="full",
                meaning="a GPU, some days: the papers' sizes, epochs and widths, from random weights",
                identities=1500,
                frames=8,
                replicates=dict.fromkeys(_SMALL, 6),
                changes={"tra-net": {"options": {"freeze": False}}, "cednn": {}, "dba-net": {}, "lla-net": {}},
            ),
        )
    }
)
