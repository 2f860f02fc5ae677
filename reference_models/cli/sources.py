"""Functions shared by the commands that train and score: source of the faces, progress bar, table of scores."""

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
    """Return the folder that caches rendered faces; None if ``cache`` is False or the user turned the cache off."""
    from reference_models.data.cache import folder

    return folder("faces") if cache else None


def own_source(trained: Trained, options: dict[str, Any]) -> Source:
    """Return the source of the faces for a trained model: the values of its own run, changed by the user's options.

    Args:
        trained: The model.
        options: Fields of :class:`Source` to values; None keeps the value of the model's run.
    """
    from reference_models.training.budgets import persons
    from reference_models.training.sources import SYNTHETIC, Source

    own = dict(trained.record.source) or {"data": SYNTHETIC, "identities": persons(trained.recipe)}
    chosen = {name: value for name, value in options.items() if value is not None}
    if chosen.get("data", own["data"]) != own["data"]:
        own = {} if chosen["data"] != SYNTHETIC else {"identities": persons(trained.recipe)}
    return Source(**{**own, **chosen})


def made_sides(source: Source, recipe: Recipe) -> Sides:
    """Return the sides of a source, with a bar on the error stream while faces are rendered."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, quiet=not is_first_process())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("rendering faces", total=None, visible=source.data == "synthetic")
        return source.sides(recipe, on_progress=lambda done, total: progress.update(task, completed=done, total=total))


def is_first_process() -> bool:
    """Return whether this is the first process of a training, the only one that prints."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def score_table(scores: dict[str, float], sides: Sequence[str] = ("",)) -> Table:
    """Return a table of scores with a column for each side, a prefix of the scores' names such as ``test/``."""
    table = Table("score", *(side.strip("/") or "value" for side in sides), box=box.SIMPLE_HEAD)
    for name in [name.removeprefix(sides[0]) for name in scores if name.startswith(sides[0])]:
        table.add_row(name, *(f"{scores[side + name]:.4f}" for side in sides))
    return table
