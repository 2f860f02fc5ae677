"""The registry: every claim compares two networks that are trained alike, and all of them can be built."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from reference_models.papers.claims.budget import BUDGETS
from reference_models.papers.claims.claim import Claim, CostClaim
from reference_models.papers.claims.hog import HOG
from reference_models.papers.claims.registry import CLAIMS, chosen
from reference_models.papers.claims.report import operations
from reference_models.papers.claims.variants import VARIANTS
from reference_models.training.networks import build

NETWORK = {"network", "options", "attach", "maps", "channels_last"}
"""In what the two networks of a claim may differ; everything else of their recipes is the same. The order in memory
decides how long it takes."""


@pytest.mark.parametrize("claim", [c for c in CLAIMS.values() if isinstance(c, Claim)], ids=lambda c: c.name)
@pytest.mark.parametrize("budget", BUDGETS.values(), ids=lambda b: b.name)
def test_both_networks_are_trained_alike(claim: Claim, budget):
    first, second = (asdict(budget.recipe(VARIANTS[name])) for name in (claim.first, claim.second))
    differing = {name for name in first if first[name] != second[name]}
    assert differing
    assert differing <= NETWORK
    assert VARIANTS[claim.first].recipe == VARIANTS[claim.second].recipe


def test_every_network_of_a_paper_is_compared():
    named = {name for c in CLAIMS.values() for name in (c.first, c.second)}
    assert {name for name in VARIANTS if name not in named and not name.startswith(("hog", "mobilenet"))} == set()


def test_counts_of_the_papers_own_claims():
    papers = [claim.paper for claim in CLAIMS.values()]
    assert {paper: papers.count(paper) for paper in papers} == {"TRA-Net": 6, "CEDNN": 12, "DBA-Net": 6, "LLA-Net": 3}
    assert sum(isinstance(claim, CostClaim) for claim in CLAIMS.values()) == 4


@pytest.mark.parametrize("name", [n for n, v in VARIANTS.items() if v.changes.get("network") != HOG])
def test_it_can_be_built_small(name: str):
    recipe = BUDGETS["small"].recipe(VARIANTS[name])
    recipe = recipe if "weights" not in recipe.options else recipe.changed(options={"weights": None})
    with torch.device("cpu" if recipe.attach else "meta"):
        network = build(recipe)
    out = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert out
    assert sum(p.numel() for p in network.parameters()) < 12_000_000


def test_smallest_effects_are_those_of_the_paper_where_they_are_less_than_two_points():
    assert CLAIMS["tra-net/hard-mask"].smallest == 0.02  # prints 9.1
    assert CLAIMS["cednn/first-se"].smallest == pytest.approx(0.009)
    assert CLAIMS["dba-net/resnet101-aw-o-db"].smallest == pytest.approx(0.0038)
    assert CLAIMS["lla-net/beats-se"].smallest == 0.02


def test_operations_are_those_of_table_6():
    counted = [operations(name) for name in ("cednn-plain", "cednn-l1", "cednn-resnet18", "cednn-igc-net")]
    assert [f"{count / 1e9:.2f}" for count in counted] == ["0.33", "1.13", "1.82", "0.83"]


def test_claims_are_chosen_by_paper_name_and_pattern():
    assert [claim.name for claim in chosen(["cednn/beats-*", "tra-net/faster"])] == [
        "tra-net/faster",
        "cednn/beats-resnet18",
        "cednn/beats-densenet121",
        "cednn/beats-igc-net",
    ]
    assert len(chosen(["lla-net"])) == 3
    assert chosen([]) == list(CLAIMS.values())
    with pytest.raises(ValueError, match=r"no claim is named 'cednn/map'; did you mean cednn/maps"):
        chosen(["cednn/map"])
