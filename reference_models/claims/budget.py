"""How much is spent on the claims: image sizes, widths, epochs, persons and replicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from reference_models.claims.claim import Variant
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.schedules import Poly


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A budget.

    Attributes:
        name: Its key.
        meaning: What it is for.
        identities: Persons of a replicate.
        frames: Expressive frames, or portraits, of each.
        replicates: Number of replicates of each recipe's variants.
        changes: Values of each recipe, the same for all of its variants.
    """

    name: str
    meaning: str
    identities: int
    frames: int
    replicates: Mapping[str, int]
    changes: Mapping[str, Mapping[str, Any]]

    def recipe(self, variant: Variant) -> Recipe:
        """Return how a variant is trained: its paper's recipe, the budget's values, then its own.

        Another network than the recipe's gets none of its options.
        """
        recipe = self.base(variant)
        if "network" in variant.changes:
            recipe = replace(recipe, network=variant.changes["network"], options={})
        return recipe.changed(**variant.changes)

    def base(self, variant: Variant) -> Recipe:
        """Return what all variants of a recipe have in common: labels, image size, data."""
        return RECIPES[variant.recipe].changed(**self.changes[variant.recipe])


_SMALL: Mapping[str, Mapping[str, Any]] = {
    "tra-net": {"image_size": 64, "options": {"width": 16, "freeze": False}, "batches": None, "batch_size": 16},
    "cednn": {"image_size": 64, "sampling": "au-weighted", "batch_size": 16},
    "dba-net": {"image_size": 48, "options": {"width": 16}, "batch_size": 32},
    "lla-net": {"image_size": 48, "options": {"width": 16}, "batch_size": 32, "augmentation": "dba-net"},
}
_SMALL_RUN: Mapping[str, Any] = {"epochs": 12, "learning_rate": 0.05, "schedule": Poly(0.9), "patience": None}

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
                changes={
                    name: {**values, **_SMALL_RUN, "image_size": 32, "batch_size": 4, "epochs": 1}
                    for name, values in _SMALL.items()
                },
            ),
            Budget(
                name="small",
                meaning="two processor cores, some hours: small images, narrow networks but for CEDNN and its rivals",
                identities=300,
                frames=6,
                replicates={"tra-net": 5, "cednn": 5, "dba-net": 8, "lla-net": 10},
                changes={name: {**values, **_SMALL_RUN} for name, values in _SMALL.items()},
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
