"""The budgets for synthetic faces: beside the recipes, which stay as printed."""

from __future__ import annotations

import pytest

from reference_models.training.budgets import SYNTHETIC, for_synthetic
from reference_models.training.networks import build
from reference_models.training.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_one_that_builds_and_keeps_what_is_asked(name: str):
    recipe = for_synthetic(RECIPES[name])
    assert sum(weights.numel() for weights in build(recipe).parameters()) < 10_000_000
    for kept in ("name", "network", "labels", "threshold", "maps", "preparation"):
        assert getattr(recipe, kept) == getattr(RECIPES[name], kept)
    assert recipe.image_size <= 96


def test_the_papers_recipes_know_nothing_of_them():
    assert set(SYNTHETIC) == set(RECIPES)
    for recipe in RECIPES.values():
        assert (recipe.optimizer, recipe.learned, recipe.map_thresholds) == ("sgd", "presence", (30, 35, 40, 45, 50))
