"""``reference-models train``: trains a network on synthetic faces or on a prepared dataset."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from reference_models.cli.console import fail
from reference_models.cli.options import (
    Cache,
    Data,
    FoldNumber,
    Frames,
    Identities,
    Prepared,
    Root,
    SelectOnTest,
    Size,
    Style,
)
from reference_models.cli.sources import faces_folder, is_first_process, made_sides, score_table

RecipeName = Annotated[str, typer.Argument(help="tra-net, lla-net, cednn, cednn-ck-plus or dba-net.")]
RunFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)]
Unseen = Annotated[
    int, typer.Option(min=0, help="Number of persons of the held-out style to score too, with synthetic faces.")
]
Paper = Annotated[bool, typer.Option("--paper", help="Use the paper's recipe, as printed, also on synthetic faces.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")]
Width = Annotated[
    int | None, typer.Option(min=1, help="Width of the network, instead of the recipe's.", show_default=False)
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a value of the recipe, NAME=VALUE with VALUE in JSON, such as epochs=5, learning_rate=0.02 or "
        'options.variant="res-L6M3"; may be repeated.',
        show_default=False,
    ),
]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, gpu, ..")]
Devices = Annotated[int, typer.Option(min=1, help="Number of training processes on each machine.")]
Nodes = Annotated[int, typer.Option(min=1, help="Number of machines.")]
BFloat16 = Annotated[
    bool | None,
    typer.Option(
        "--bf16/--no-bf16",
        help="Train in bfloat16 mixed precision; by default only tra-net on synthetic faces does.",
        show_default=False,
    ),
]
BatchWorkers = Annotated[
    int, typer.Option(min=0, help="Number of processes that make batches; 0 uses the training process.")
]


def train_command(
    recipe: RecipeName,
    *,
    output: RunFolder,
    data: Data = "synthetic",
    root: Root = None,
    prepared: Prepared = None,
    fold: FoldNumber = 1,
    select_on_test: SelectOnTest = False,
    identities: Identities = None,
    frames: Frames = 8,
    style: Style = "studio",
    unseen: Unseen = 60,
    cache: Cache = True,
    paper: Paper = False,
    seed: Seed = 0,
    size: Size = None,
    width: Width = None,
    changes: Changes = None,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    bf16: BFloat16 = None,
    workers: BatchWorkers = 0,
) -> None:
    """Train a network by its paper's recipe, or on synthetic faces by a recipe adapted to them.

    The papers' recipes are meant for tens of thousands of photographs. For synthetic faces each network has an adapted
    recipe that takes minutes on two cores; --paper uses the paper's instead. --size, --width and --set change either.

    The best epoch is chosen on subjects taken from the training side. The same command resumes an interrupted run from
    its last complete epoch, and the final weights are the same. model.safetensors holds the best epoch; TensorBoard can
    read the folder.

    Synthetic faces need no preparation. A dataset must be prepared first: reference-models prepare.

    Examples:

    reference-models train cednn -o runs/cednn

    reference-models train lla-net -o runs/lla --width 32 --set epochs=40 --set batch_size=64

    reference-models train cednn -o runs/paper --paper --size 96

    reference-models train tra-net -o runs/disfa-1 --data disfa --root DISFA --prepared DISFA-faces --fold 1 --devices 2
    """  # noqa: D412 - typer keeps only paragraphs apart
    budget = data == "synthetic" and not paper
    source_options = {
        "data": data, "root": root, "prepared": prepared, "fold": fold, "identities": identities, "frames": frames,
        "selection": "select-on-test" if select_on_test else "validation", "style": style,
        "unseen": unseen if data == "synthetic" and style != "held-out" else 0,
    }  # fmt: skip
    machine = {"accelerator": accelerator, "devices": devices, "nodes": nodes, "workers": workers}
    recipe_options = {"name": recipe, "size": size, "width": width, "changes": changes or []}
    _run(recipe_options, source_options, machine, output, seed=seed, cache=cache, bf16=bf16, budget=budget)


def _run(
    recipe_options: dict[str, Any],
    source_options: dict[str, Any],
    machine: dict[str, Any],
    output: Path,
    *,
    seed: int,
    cache: bool,
    bf16: bool | None,
    budget: bool,
) -> None:
    """Train, print the scores of every side and the next commands; exit with a message on wrong input.

    Args:
        recipe_options: Arguments of :func:`_recipe`.
        source_options: Fields of :class:`Source`.
        machine: Fields of :class:`Hardware` without the precision.
        output: Folder of the run.
        seed: Seed of the run.
        cache: Whether to cache rendered faces.
        bf16: The option ``--bf16``.
        budget: Whether to use the recipe for synthetic faces.
    """
    from reference_models import interrupts
    from reference_models.data import DataError
    from reference_models.extras import MissingExtraError, require
    from reference_models.preparation.items import PreparationError

    try:
        require("train", *(("synth", "faces") if source_options["data"] == "synthetic" else ()))
        from reference_models.training.budgets import persons
        from reference_models.training.fit import Hardware, fit
        from reference_models.training.networks import build
        from reference_models.training.sources import Source
        from reference_models.training.trained import LAST

        recipe = _recipe(**recipe_options, budget=budget)
        build(recipe)  # reports options that the network rejects before any face is rendered
        identities = source_options["identities"] or persons(recipe)
        source = Source(**{**source_options, "identities": identities, "kept": faces_folder(cache)})
        hardware = Hardware(precision=_precision(recipe, bf16, budget=budget), **machine)
        sides = made_sides(source, recipe)
        kept = f"the state of the last complete epoch is {output / LAST}, and the same command resumes from it"
        with interrupts.keeping(kept, file=output / LAST):
            scores = fit(recipe, sides, output, seed=seed, hardware=hardware)
    except (DataError, PreparationError, MissingExtraError, ValueError, TypeError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write to {output}: {error.strerror or error}; the last good state of the run is kept")
    if is_first_process():
        names = [f"{name}/" for name in dict.fromkeys(name.partition("/")[0] for name in scores)]
        Console().print(score_table(scores, names))
        _print_next_commands(output, recipe)


def _print_next_commands(output: Path, recipe: Any) -> None:
    """Print the path of the model and the commands that use it."""
    from reference_models.training.trained import MODEL

    model = shlex.quote(str(output / MODEL))
    neutral = " --neutral REST.jpg" if recipe.maps else ""
    typer.echo(f"Model: {model}")
    typer.echo("What to do with it:")
    typer.echo(f"  reference-models predict FACE.jpg{neutral} --model {model} -o said.png")
    typer.echo(f"  reference-models eval {model}")
    typer.echo(f"  reference-models export {model} -o {recipe.network}.onnx")


def _precision(recipe: Any, bf16: bool | None, *, budget: bool) -> Any:
    """Return the precision: the user's choice, else that of the recipe for synthetic faces, else float32."""
    from reference_models.training.budgets import precision

    if bf16 is None:
        return precision(recipe) if budget else "32-true"
    return "bf16-mixed" if bf16 else "32-true"


def _recipe(name: str, size: int | None, width: int | None, changes: list[str], *, budget: bool) -> Any:
    from reference_models.checks import one_of
    from reference_models.training.budgets import for_synthetic
    from reference_models.training.recipes import RECIPES

    name = name.replace("_", "-")
    one_of("recipe", name, RECIPES)
    values: dict[str, Any] = {} if size is None else {"image_size": size}
    options: dict[str, Any] = {} if width is None else {"width": width}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set must be NAME=VALUE, got {change!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        if key.startswith("options."):
            options[key.removeprefix("options.")] = value
        else:
            values[key] = value
    recipe = for_synthetic(RECIPES[name]) if budget else RECIPES[name]
    return recipe.changed(**values, **({"options": options} if options else {}))
