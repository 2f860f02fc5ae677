"""What the commands that train and score do alike: where faces come from, the bar meanwhile, the table of scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from reference_models.training.recipes import Recipe
    from reference_models.training.sides import Sides
    from reference_models.training.sources import Source
    from reference_models.training.trained import Trained


def faces_folder(cache: bool) -> Path | None:
    """Return where rendered faces are kept; None if they are not."""
    from reference_models.data.cache import folder

    return folder("faces") if cache else None


def own_source(trained: Trained, given: dict[str, Any]) -> Source:
    """Return where a model's faces come from: what is given, and else as its own run had it.

    Args:
        trained: The model.
        given: Values of a source by name; None stands for the run's own.
    """
    from reference_models.training.budgets import persons
    from reference_models.training.sources import SYNTHETIC, Source

    own = dict(trained.record.source) or {"data": SYNTHETIC, "identities": persons(trained.recipe)}
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen.get("data", own["data"]) != own["data"]:
        own = {} if chosen["data"] != SYNTHETIC else {"identities": persons(trained.recipe)}
    return Source(**{**own, **chosen})


def made_sides(source: Source, recipe: Recipe) -> Sides:
    """Return the sides of a source, with a bar on the error stream while faces are rendered."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, quiet=not is_first_process())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("rendering faces", total=None, visible=source.data == "synthetic")
        return source.sides(recipe, told=lambda done, total: progress.update(task, completed=done, total=total))


def is_first_process() -> bool:
    """Return whether this is the first process of a training, which alone speaks."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def score_table(scores: dict[str, float], sides: Sequence[str] = ("",)) -> Table:
    """Return the scores, a column for each of the sides that their names begin with."""
    table = Table("score", *(side.strip("/") or "value" for side in sides), box=box.SIMPLE_HEAD)
    for name in [name.removeprefix(sides[0]) for name in scores if name.startswith(sides[0])]:
        table.add_row(name, *(f"{scores[side + name]:.4f}" for side in sides))
    return table
