"""The four networks on synthetic faces against HOG and ridge regression, both on the same persons.

Every network is trained by its recipe and budget, as ``reference-models train`` does it. The regression is given the
same persons on the same sides, aligned in the same way but with 96 pixels, and levels, or one output for each
expression; its strength is chosen on the validation side. Threshold and scale of each unit are fitted on the validation
side by one rule for both, :mod:`reference_models.training.calibration`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from attnzoo.files import write_atomically
from reference_models.papers.claims.hog import scores_by_side
from reference_models.training.budgets import for_synthetic, persons, precision
from reference_models.training.fit import Hardware, fit
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.sides import Sides
from reference_models.training.sources import Source
from reference_models.training.trained import LAST

BASELINE_SIZE = 96
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
UNSEEN = 60

Row = dict[str, object]


def compare(names: Sequence[str], folder: Path, identities: int | None) -> list[Row]:
    """Return a row for each baseline and network on each style; what ``folder`` holds already is not done again.

    Args:
        names: Recipes to run now; rows of others are taken from the folder if they are there.
        folder: Gets a folder for each recipe, with its run and its rows.
        identities: Number of persons; None: as many as ``reference-models train`` takes. It must be the same for all
            that a folder holds.
    """
    for name in names:
        done = folder / name / "rows.json"
        if not done.exists():
            recipe = for_synthetic(RECIPES[name])
            found = _rows(recipe, folder / name, identities or persons(recipe))
            write_atomically(done, (json.dumps(found, indent=1) + "\n").encode())
    there = [folder / name / "rows.json" for name in RECIPES]
    return [row for path in there if path.exists() for row in json.loads(path.read_text())]


def _rows(recipe: Recipe, folder: Path, identities: int) -> list[Row]:
    source = Source(identities=identities, unseen=UNSEEN, kept=folder.parent / "faces")
    folder.mkdir(parents=True, exist_ok=True)
    begun_before, start = (folder / LAST).exists(), time.perf_counter()
    hardware = Hardware(precision=precision(recipe))
    scores = fit(recipe, source.sides(recipe), folder, hardware=hardware, progress=False)
    minutes = "-" if begun_before else round((time.perf_counter() - start) / 60, 1)
    trained = _scored(recipe, recipe.network, scores, minutes, identities)
    larger = source.sides(recipe.changed(image_size=BASELINE_SIZE, maps=False))
    rows: list[Row] = []
    for kind, said in baselines(larger, recipe.labels.task == "action units").items():
        rows += _scored(recipe, f"HOG + ridge on {kind}", said, "-", identities)
    return rows + trained


def baselines(sides: Sides, units: bool) -> dict[str, dict[str, float]]:
    """Return the scores of HOG and ridge regression, by kind of features; named as :func:`fit` names a network's."""
    kinds = {"single frames": "frames", "differences from neutral": "differences"} if units else {"portraits": "frames"}
    found = {}
    for kind, of in kinds.items():
        by_side = scores_by_side(sides, of=of, score="icc" if units else "f1", strengths=STRENGTHS)
        found[kind] = {f"{side}/{name}": value for side, scores in by_side.items() for name, value in scores.items()}
    return found


def _scored(recipe: Recipe, what: str, scores: Mapping[str, float], minutes: object, identities: int) -> list[Row]:
    """Return a row for each style; minutes are those of a training that was not interrupted."""
    units = recipe.labels.task == "action units"
    return [
        {
            "labels of": recipe.name,
            "what": what,
            "persons": identities,
            "epochs": recipe.epochs if what == recipe.network else "-",
            "tested on": style,
            "mean F1": round(scores[f"{side}/{'f1_tuned' if units else 'f1'}"], 3),
            "mean ICC": round(scores[f"{side}/icc"], 3) if units else "-",
            "accuracy": "-" if units else round(scores[f"{side}/accuracy"], 3),
            "minutes": minutes,
        }
        for side, style in (("test", "studio"), ("held-out", "held-out"))
    ]
