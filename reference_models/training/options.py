"""What the commands that train and score have in common: where faces come from, the bar meanwhile, the table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from reference_models.training.recipes import Recipe
    from reference_models.training.sides import Sides
    from reference_models.training.sources import Source
    from reference_models.training.trained import Trained

Data = typer.Option("--data", help="synthetic, or a dataset: disfa, disfa+, ck+, raf-db, aff-wild2, own.")
Root = Annotated[Path | None, typer.Option(help="Your copy of the dataset.", show_default=False)]
Prepared = Annotated[Path | None, typer.Option(help="What 'reference-models prepare' made of it.", show_default=False)]
FoldNumber = Annotated[int, typer.Option("--fold", min=1, help="Number of the fold.")]
Identities = Annotated[
    int | None,
    typer.Option(min=3, help="Number of synthetic persons; 2,000 by default, 5,000 for tra-net.", show_default=False),
]
Frames = Annotated[int, typer.Option(min=1, help="Expressive frames, or portraits, of each synthetic person.")]
Style = Annotated[str, typer.Option(help="Style of synthetic faces: studio, or held-out.")]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache", help="Keep rendered faces in the user's cache folder for the next command, see the docs."
    ),
]

# The same for a model that is there: what is not given is as its own run had it.
OwnData = Annotated[
    str | None, typer.Option("--data", help="synthetic, or a dataset; the one it was trained on by default.")
]
OwnFold = Annotated[int | None, typer.Option("--fold", min=1, help="Number of the fold; its own by default.")]
OwnIdentities = Annotated[
    int | None, typer.Option(min=3, help="Number of synthetic persons; as many as it was trained with by default.")
]
OwnFrames = Annotated[
    int | None,
    typer.Option(min=1, help="Frames, or portraits, of each synthetic person; as it was trained by default."),
]
OwnStyle = Annotated[
    str | None, typer.Option(help="Style of synthetic faces: studio, or held-out; its own by default.")
]
OwnSeed = Annotated[
    int | None, typer.Option("--data-seed", min=0, help="What synthetic persons are drawn from; its own by default.")
]


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
