"""``reference-models quantize``: writes a trained network in int8, and compares it with float32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from reference_models.cli.console import fail
from reference_models.cli.options import (
    Cache,
    OwnData,
    OwnFold,
    OwnFrames,
    OwnIdentities,
    OwnSeed,
    OwnStyle,
    Prepared,
    Root,
    TrainedModel,
)
from reference_models.cli.sources import faces_folder, made_sides, own_source

if TYPE_CHECKING:
    from reference_models.export.int8 import Version

File = Annotated[Path, typer.Option("--output", "-o", help="Path of the .onnx file to write.", show_default=False)]
Faces = Annotated[int, typer.Option(min=1, help="Number of faces from which the ranges of activations are taken.")]


def quantize_command(
    model: TrainedModel,
    *,
    output: File,
    faces: Faces = 128,
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
    """Write a trained network as ONNX in int8, and compare its scores, size and time with float32.

    The ranges of the activations are taken from faces of the validation side, the scores from the test side, by default
    those of the network's own run. Persons that it was trained on are never scored.

    Examples:

    reference-models quantize runs/lla/model.safetensors -o lla-int8.onnx

    reference-models quantize runs/cednn/model.safetensors -o cednn-int8.onnx --faces 512
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import OutputError
    from reference_models.data import DataError
    from reference_models.extras import MissingExtraError
    from reference_models.preparation.items import PreparationError

    options = {
        "data": data, "root": root, "prepared": prepared, "fold": fold, "identities": identities, "frames": frames,
        "style": style, "data_seed": data_seed, "kept": faces_folder(cache),
    }  # fmt: skip
    try:
        versions = _quantized(model, output, faces, options)
    except (DataError, PreparationError, MissingExtraError, OutputError, OSError, ValueError) as error:
        fail(str(error).strip().splitlines()[0])
    Console().print(_table(versions, str(output)))


def _quantized(model: Path, output: Path, count: int, options: dict[str, Any]) -> list[Version]:
    """Write the network in int8, and return scores, sizes and times in float32 and int8."""
    from attnzoo.files import check_writable
    from reference_models.extras import require

    check_writable(output, ".onnx")
    require("export", "train")
    from reference_models.export.int8 import quantize
    from reference_models.export.subject import subject
    from reference_models.training.persons import check_unknown

    to_export = subject(str(model), None)
    if to_export.trained is None:
        raise ValueError(f"MODEL must be a model that 'train' has written, got {model}")
    source = own_source(to_export.trained, options)
    if source.data == "synthetic":
        require("synth", "faces")
    sides = made_sides(source, to_export.recipe)
    check_unknown(to_export.trained.record.persons, sides.persons["test"])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("calibrating", total=min(count, len(sides.validation)))

        def on_progress(done: int) -> None:
            progress.update(task, completed=done)

        return list(quantize(to_export, sides.validation, sides.test, output, count=count, on_progress=on_progress))


def _table(versions: list[Version], title: str) -> Table:
    """Return a table of scores, sizes and times with a column for each version."""
    table = Table("", *(one.name for one in versions), box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name in (name for name in versions[0].scores if "/" not in name):
        table.add_row(name, *(f"{one.scores[name]:.4f}" for one in versions))
    table.add_row("MB", *(f"{one.size / 1e6:.2f}" for one in versions))
    table.add_row("ms a face, one thread", *(f"{one.seconds * 1e3:.2f}" for one in versions))
    return table
