"""The results of a sweep as plain values for JSON: a row for each claim and for each variant's scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

import attnzoo
from reference_models.papers.claims.budget import BUDGETS, Budget
from reference_models.papers.claims.claim import SCORES, Claim, CostClaim
from reference_models.papers.claims.conditions import commit
from reference_models.papers.claims.runs import Run
from reference_models.papers.claims.variants import VARIANTS
from reference_models.papers.claims.verdict import CONFIDENCE, FEWEST, effect_of, judge
from reference_models.training.networks import build

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Variant name to the results of its replicates, in order."""


def collected(runs: Sequence[Run], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the results of the finished runs in ``folder``, by variant.

    Raises:
        ValueError: If a file is damaged, or two runs of one replicate were trained on different pixels.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    seen: dict[Any, str] = {}
    for run in runs:
        result = run.result(folder)
        if result is None:
            continue
        if seen.setdefault((run.population, run.replicate), result["pixels"]) != result["pixels"]:
            raise ValueError(f"{run.title} was trained on other pixels than its partners: begin in a new folder")
        results.setdefault(run.variant.name, []).append(result)
    return results


def claim_row(claim: Claim, results: Results, budget: Budget) -> dict[str, Any]:
    """Return the row of a claim that is tested by training: both scores, their difference and the verdict."""
    first, second = ({r["replicate"]: r for r in results.get(name, ())} for name in (claim.first, claim.second))
    score = claim.score
    pairs = [
        (first[number]["scores"][score], second[number]["scores"][score])
        for number in sorted(first.keys() & second.keys())
        if score in first[number]["scores"] and score in second[number]["scores"]
    ]
    sign = 1.0 if claim.higher else -1.0
    effect = effect_of([sign * (better - worse) for better, worse in pairs])
    smallest = claim.smallest
    failed = sum("failed" in result for side in (first, second) for result in side.values())
    return {
        **_claim_fields(claim),
        "score": score,
        "image size": budget.recipe(VARIANTS[claim.first]).image_size,
        "first": _summary([better for better, _ in pairs]),
        "second": _summary([worse for _, worse in pairs]),
        "difference": {name: value if math.isfinite(value) else None for name, value in asdict(effect).items()},
        "n": effect.count,
        "failed": failed,
        "commits": _commits([*first.values(), *second.values()]),
        "margin": claim.margin,
        "smallest": smallest,
        "verdict": judge(effect, margin=claim.margin, smallest=smallest),
        "remark": claim.remark,
    }


def cost_row(claim: CostClaim) -> dict[str, Any]:
    """Return the row of a claim on operations, counted for the paper's full-size networks at 224 x 224 pixels."""
    first, second = (operations(name) for name in (claim.first, claim.second))
    return {
        **_claim_fields(claim),
        "score": "operations",
        "image size": BUDGETS["full"].recipe(VARIANTS[claim.first]).image_size,
        "first": {"mean": first, "deviation": 0.0},
        "second": {"mean": second, "deviation": 0.0},
        "ratio": first / second,
        "at most": claim.at_most,
        "n": 1,
        "commits": [commit()],
        "verdict": "holds" if first <= claim.at_most * second else "does not hold",
        "remark": "counted by the rule of thop in 2019, exact",
    }


def operations(name: str) -> int:
    """Return the operations of a variant at its paper's size, by the rule ``thop-2019``, on the meta device."""
    recipe = BUDGETS["full"].recipe(VARIANTS[name])
    size = recipe.image_size
    with torch.device("meta"):
        inputs = [torch.zeros(1, 3, size, size)]
        if recipe.maps and recipe.options["attention_blocks"]:
            inputs.append(torch.zeros(1, 5, size, size))
        return attnzoo.cost(build(recipe), *inputs).thop_2019


def score_rows(results: Results, budget: Budget) -> list[dict[str, Any]]:
    """Return a row for each variant with results: title, recipe, image size and its score over all replicates."""
    rows = []
    for name, variant in VARIANTS.items():
        recipe = budget.recipe(variant)
        score = SCORES[variant.recipe]
        values = [result["scores"][score] for result in results.get(name, ()) if score in result["scores"]]
        if name in results:
            rows.append(
                {
                    "variant": variant.title,
                    "name": name,
                    "faces": variant.recipe,
                    "image size": recipe.image_size,
                    "score": score,
                    **_summary(values),
                    "n": len(values),
                    "failed": sum("failed" in result for result in results[name]),
                    "commits": _commits(results[name]),
                    "seconds": round(fmean(result["seconds"] for result in results[name]), 1),
                }
            )
    return rows


def record(
    claims: Sequence[Claim | CostClaim],
    results: Results,
    budget: Budget,
    metadata: Mapping[str, Any],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """Return the whole report as plain values for JSON.

    Args:
        claims: The claims, in the order of the table.
        results: The result of :func:`collected`.
        budget: The budget of the runs.
        metadata: Command, commit, machine and versions, see :func:`.conditions.report_metadata`.
        left_out: Title of each variant that was not run, to the reason.
    """
    rows = [claim_row(c, results, budget) if isinstance(c, Claim) else cost_row(c) for c in claims]
    runs = [result for each in results.values() for result in each]
    conditions = [result["conditions"] for result in runs]
    return {
        **metadata,
        "core hours": round(sum(run["seconds"] for run in runs) / 3600, 2),
        "runs made with": [dict(pairs) for pairs in sorted({tuple(sorted(each.items())) for each in conditions})],
        "budget": {
            "name": budget.name,
            "meaning": budget.meaning,
            "identities": budget.identities,
            "frames": budget.frames,
            "replicates": {**budget.replicates, **budget.overrides},
            "recipes": {name: {k: _plain(v) for k, v in values.items()} for name, values in budget.changes.items()},
        },
        "rule": {"confidence": CONFIDENCE, "fewest replicates": FEWEST},
        "decided": sum(row["verdict"] != "undecided" for row in rows),
        "rows": rows,
        "scores": score_rows(results, budget),
        "left out": dict(left_out),
    }


def _commits(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sorted commits at which the results were computed."""
    return sorted({str(result["conditions"]["commit"]) for result in results})


def _claim_fields(claim: Claim | CostClaim) -> dict[str, Any]:
    return {
        "name": claim.name,
        "paper": claim.paper,
        "claim": claim.statement,
        "source": claim.source,
        "printed": None if claim.printed is None else list(claim.printed),
        "compared": [VARIANTS[claim.first].title, VARIANTS[claim.second].title],
    }


def _summary(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": fmean(values) if values else None,
        "deviation": stdev(values) if len(values) > 1 else None,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value if value is None or isinstance(value, str | int | float) else repr(value)
