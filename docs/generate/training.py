"""Parts on training: recipes, what synthetic faces change in them, and the papers' claims."""

from __future__ import annotations

from pathlib import Path

from benchmarks import RESULTS
from benchmarks.committed import Results
from docs.generate.markdown import table
from reference_models.papers.claims import tables as claim_tables
from reference_models.training.budgets import SYNTHETIC
from reference_models.training.recipes import RECIPES


def recipes(path: Path) -> str:
    """Return the table of the papers' training recipes."""
    shown = ("network", "image_size", "batch_size", "batches", "epochs", "learning_rate", "momentum", "weight_decay")
    rows = []
    for name, recipe in RECIPES.items():
        values = [getattr(recipe, field) for field in shown]
        schedule = (
            f"{type(recipe.schedule).__name__}({', '.join(f'{k}={v}' for k, v in vars(recipe.schedule).items())})"
        )
        rows.append([f"`{name}`", *("-" if v is None else str(v) for v in values), f"`{schedule}`", recipe.ours or "-"])
    return table(("recipe", *(field.replace("_", " ") for field in shown), "schedule", "not printed"), rows)


def budgets(path: Path) -> str:
    """Return the table of what is changed in the recipes for synthetic faces."""
    names = list(dict.fromkeys(name for changes in SYNTHETIC.values() for name in changes))
    rows = [
        [f"`{name}`", *(f"`{changes[name]}`" if name in changes else "as printed" for changes in SYNTHETIC.values())]
        for name in names
    ]
    return table(("value", *(f"`{name}`" for name in SYNTHETIC)), rows)


def claims(path: Path, budget: str) -> str:
    """Return the papers' claims with their verdicts, from a committed sweep of ``reference-models claims``."""
    record = Results(RESULTS).need(f"claims-{budget}")
    shown = table(claim_tables.CLAIMS_HEADER, map(claim_tables.claim_cells, record["rows"]))
    return f"{shown}\n\n{claim_tables.notes(record)}"


def claim_scores(path: Path, budget: str) -> str:
    """Return the scores of all networks of that sweep."""
    record = Results(RESULTS).need(f"claims-{budget}")
    shown = table(claim_tables.SCORES_HEADER, map(claim_tables.score_cells, record["scores"]))
    return f"{shown}\n\n{claim_tables.made_with(record)}"
