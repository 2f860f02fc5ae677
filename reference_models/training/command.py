"""``reference-models train``: a recipe run on synthetic faces or on a prepared dataset."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from reference_models.training.options import (
    Cache,
    Data,
    FoldNumber,
    Frames,
    Identities,
    Prepared,
    Root,
    Style,
    faces_folder,
    is_first_process,
    made_sides,
    score_table,
)

Unseen = Annotated[
    int, typer.Option(min=0, help="Persons of the held-out style that are scored beside, with synthetic faces.")
]


def train_command(
    recipe: Annotated[str, typer.Argument(help="tra-net, lla-net, cednn, cednn-ck-plus or dba-net.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the run.", show_default=False)],
    data: Annotated[str, Data] = "synthetic",
    root: Root = None,
    prepared: Prepared = None,
    fold: FoldNumber = 1,
    select_on_test: Annotated[
        bool, typer.Option("--select-on-test", help="Choose the best epoch on the test side, as the papers do.")
    ] = False,
    identities: Identities = None,
    frames: Frames = 8,
    style: Style = "studio",
    unseen: Unseen = 60,
    cache: Cache = True,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="On synthetic faces too the paper's recipe, as printed."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(min=16, max=4096, help="Side of the pictures, instead of the recipe's.", show_default=False),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Width of the network, instead of the recipe's.", show_default=False)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another value of the recipe, NAME=VALUE with VALUE in JSON, such as epochs=5, learning_rate=0.02 or "
            'options.variant="res-L6M3"; may be given several times.',
            show_default=False,
        ),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, ..")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on each machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    bf16: Annotated[
        bool | None,
        typer.Option(
            "--bf16/--no-bf16",
            help="Compute in bfloat16 where that is safe; by default tra-net does, on synthetic faces.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches; 0: the training process.")] = 0,
) -> None:
    """Train a network by its paper's recipe, or on synthetic faces by one that learns from few of them.

    Papers' recipes are made for tens of thousands of photographs and weights from elsewhere. For synthetic faces each
    has a budget beside it (size, optimiser, schedule, loss, thresholds of the difference maps) of minutes on two cores;
    --paper refuses it, and --size, --width and --set override either.

    Of action units f1 is counted at probability 0.5; f1_tuned at thresholds, and icc with a scale, that were chosen on
    the validation side, and level by level. On synthetic faces a held-out style is scored too.

    The best epoch is chosen on subjects taken out of the training side. A run that was interrupted goes on with the
    same command, from its last whole epoch, and ends with the same weights. model.safetensors is the best epoch, with
    its labels and recipe; TensorBoard reads the folder.

    Synthetic faces need nothing. A dataset must be prepared first: reference-models prepare.

    Examples:

    reference-models train cednn -o runs/cednn

    reference-models train lla-net -o runs/lla --width 32 --set epochs=40 --set batch_size=64

    reference-models train cednn -o runs/paper --paper --size 96

    reference-models train tra-net -o runs/disfa-1 --data disfa --root DISFA --prepared DISFA-faces --fold 1 --devices 2
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models import cli, interrupts
    from reference_models.data import DataError
    from reference_models.extras import MissingExtraError, require
    from reference_models.preparation.items import PreparationError

    try:
        require("train", *(("synth", "faces") if data == "synthetic" else ()))
        from reference_models.training.budgets import persons
        from reference_models.training.fit import Hardware, fit
        from reference_models.training.networks import build
        from reference_models.training.sources import Source
        from reference_models.training.trained import LAST

        budget = data == "synthetic" and not paper
        chosen = _recipe(recipe, size, width, changes or [], budget=budget)
        build(chosen)  # what the network refuses is said before any face is rendered
        source = Source(
            data=data,
            root=root,
            prepared=prepared,
            fold=fold,
            selection="select-on-test" if select_on_test else "validation",
            identities=identities or persons(chosen),
            frames=frames,
            style=style,
            unseen=unseen if data == "synthetic" and style != "held-out" else 0,
            kept=faces_folder(cache),
        )
        hardware = Hardware(
            accelerator=accelerator,
            devices=devices,
            nodes=nodes,
            precision=_precision(chosen, bf16, budget=budget),
            workers=workers,
        )
        sides = made_sides(source, chosen)
        kept = f"the state of the last complete epoch is {output / LAST}, and the same command resumes from it"
        with interrupts.keeping(kept, file=output / LAST):
            scores = fit(chosen, sides, output, seed=seed, hardware=hardware)
    except (DataError, PreparationError, MissingExtraError, ValueError, TypeError) as error:
        cli.fail(str(error))
    except OSError as error:
        cli.fail(f"cannot write to {output}: {error.strerror or error}; the last good state of the run is kept")
    if is_first_process():
        names = [f"{name}/" for name in dict.fromkeys(name.partition("/")[0] for name in scores)]
        Console().print(score_table(scores, names))
        _say_what_is_next(output, chosen)


def _say_what_is_next(output: Path, recipe: Any) -> None:
    """Say where the model is and what can be done with it."""
    from reference_models.training.trained import MODEL

    model = shlex.quote(str(output / MODEL))
    neutral = " --neutral REST.jpg" if recipe.maps else ""
    typer.echo(f"Model: {model}")
    typer.echo("What to do with it:")
    typer.echo(f"  reference-models predict FACE.jpg{neutral} --model {model} -o said.png")
    typer.echo(f"  reference-models eval {model}")
    typer.echo(f"  reference-models export {model} -o {recipe.network}.onnx")


def _precision(recipe: Any, bf16: bool | None, *, budget: bool) -> Any:
    """Return in what is computed: as the user says, else as the budget does if there is one."""
    from reference_models.training.budgets import precision

    if bf16 is None:
        return precision(recipe) if budget else "32-true"
    return "bf16-mixed" if bf16 else "32-true"


def _recipe(name: str, size: int | None, width: int | None, changes: list[str], *, budget: bool) -> Any:
    from reference_models.checks import one_of
    from reference_models.training.budgets import for_synthetic
    from reference_models.training.recipes import RECIPES

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
