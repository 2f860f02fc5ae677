"""``reference-models quantize``: a trained network in int8, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from reference_models.training.options import (
    Cache,
    OwnData,
    OwnFold,
    OwnFrames,
    OwnIdentities,
    OwnSeed,
    OwnStyle,
    Prepared,
    Root,
    faces_folder,
    made_sides,
    own_source,
)


def quantize_command(
    model: Annotated[Path, typer.Argument(help="A model.safetensors that 'train' has written.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.", show_default=False)],
    faces: Annotated[int, typer.Option(min=1, help="Faces whose activations give the ranges.")] = 128,
    data: OwnData = None,
    root: Root = None,
    prepared: Prepared = None,
    fold: OwnFold = None,
    identities: OwnIdentities = None,
    frames: OwnFrames = None,
    style: OwnStyle = None,
    data_seed: OwnSeed = None,
    cache: Cache = True,
) -> None:
    """Write a trained network as ONNX in int8, and show what that costs: F1, bytes and time beside float32.

    The ranges of the activations are taken from faces of the validation side, the scores from the test side: without
    options those of the network's own run. Persons that it was trained on are never scored.

    Examples:

    reference-models quantize runs/lla/model.safetensors -o lla-int8.onnx

    reference-models quantize runs/cednn/model.safetensors -o cednn-int8.onnx --faces 512
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import OutputError, check_writable
    from reference_models import cli
    from reference_models.data import DataError
    from reference_models.extras import MissingExtraError, require
    from reference_models.preparation.items import PreparationError

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        check_writable(output, ".onnx")
        require("export", "train")
        from reference_models.export.int8 import quantize
        from reference_models.export.subject import subject
        from reference_models.training.persons import check_unknown

        made = subject(str(model), None)
        if made.trained is None:
            raise ValueError(f"MODEL must be a model that 'train' has written, got {model}")
        given = {
            "data": data, "root": root, "prepared": prepared, "fold": fold, "identities": identities, "frames": frames,
            "style": style, "data_seed": data_seed, "kept": faces_folder(cache),
        }  # fmt: skip
        source = own_source(made.trained, given)
        if source.data == "synthetic":
            require("synth", "faces")
        sides = made_sides(source, made.recipe)
        check_unknown(made.trained.record.persons, sides.persons["test"])
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            calibrating = progress.add_task("calibrating", total=min(faces, len(sides.validation)))
            versions = quantize(
                made,
                sides.validation,
                sides.test,
                output,
                count=faces,
                told=lambda done: progress.update(calibrating, completed=done),
            )
    except (DataError, PreparationError, MissingExtraError, OutputError, OSError, ValueError) as error:
        cli.fail(str(error).strip().splitlines()[0])
    scores = [name for name in versions[0].scores if "/" not in name]
    table = Table("", *(one.name for one in versions), box=box.SIMPLE_HEAD, title=f"{output}", title_justify="left")
    for name in scores:
        table.add_row(name, *(f"{one.scores[name]:.4f}" for one in versions))
    table.add_row("MB", *(f"{one.size / 1e6:.2f}" for one in versions))
    table.add_row("ms a face, one thread", *(f"{one.seconds * 1e3:.2f}" for one in versions))
    Console().print(table)
