"""The budgets for synthetic faces: beside the recipes, which stay as printed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reference_models.cli import train as command
from reference_models.data.dataset import Batch
from reference_models.training.budgets import SYNTHETIC, for_synthetic, persons, precision
from reference_models.training.networks import build, inputs_of, logits_of
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


def test_pictures_pixel_by_pixel_say_the_same():
    recipe = for_synthetic(RECIPES["tra-net"])
    assert recipe.channels_last
    batch = Batch(torch.rand(2, 3, 96, 96), torch.zeros(2, 8), levels=None, neutral=None, maps=None, records=())
    (pictures,), (usual,) = inputs_of(recipe, batch), inputs_of(recipe.changed(channels_last=False), batch)
    assert pictures.is_contiguous(memory_format=torch.channels_last)
    assert usual.is_contiguous()
    network = build(recipe).eval()
    with torch.no_grad():
        logits = [logits_of(network, each, batch) for each in (recipe, recipe.changed(channels_last=False))]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_a_recipe_of_somebodys_own_has_as_many_persons_as_most():
    recipe = RECIPES["tra-net"]
    assert persons(recipe) == 5000
    assert persons(replace(recipe, name="mine")) == persons(RECIPES["cednn"]) == 2000


def test_tra_net_alone_computes_in_bfloat16():
    assert {name for name, recipe in RECIPES.items() if precision(recipe) == "bf16-mixed"} == {"tra-net"}


@pytest.mark.parametrize(
    ("said", "budget", "computed"),
    [
        (None, True, "bf16-mixed"),
        (None, False, "32-true"),
        (False, True, "32-true"),
        (True, False, "bf16-mixed"),
    ],
)
def test_bfloat16_is_the_users_choice_before_it_is_the_budgets(said: bool | None, budget: bool, computed: str):
    assert command._precision(RECIPES["tra-net"], said, budget=budget) == computed
    assert command._precision(RECIPES["cednn"], said, budget=budget) == ("bf16-mixed" if said else "32-true")
