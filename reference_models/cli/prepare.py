"""``reference-models prepare``: a folder of photographs becomes a folder of aligned faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from reference_models.choices import Box, Finder, Network, NoFacePolicy, Policy
from reference_models.cli.console import fail
from reference_models.cli.options import Size, Workers

if TYPE_CHECKING:
    from reference_models.preparation.plan import Plan
    from reference_models.preparation.preparation import Preparation, Search
    from reference_models.preparation.run import Report

_SHOWN = 20
_FAILED = 1

Photographs = Annotated[Path, typer.Argument(help="The folder with the photographs.", show_default=False)]
Results = Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.", show_default=False)]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="Prepare what this dataset's labels name, with its own landmarks: disfa, disfa+, ck+, raf-db,"
        " aff-wild2, affectnet or own.",
        show_default=False,
    ),
]
WantedBy = Annotated[
    str,
    typer.Option(
        "--for",
        help="Whose frames are made: tra-net, lla-net, cednn, dba-net, or a model that 'train' has written.",
    ),
]
Margin = Annotated[
    float | None, typer.Option(min=0, help="Margin around the face on each side, instead of the network's.")
]
Detector = Annotated[
    Finder | None,
    typer.Option(
        help="What finds the faces: dlib, mtcnn, or aligned (nothing: the photographs are such frames already).",
        show_default=False,
    ),
]
CropBox = Annotated[
    Box | None,
    typer.Option(
        help="What lla-net and dba-net crop: a square that follows from the landmarks, whatever found them, or the"
        " detector's own box.",
        show_default=False,
    ),
]
NeutralFrames = Annotated[
    str | None,
    typer.Option(
        help="Store the difference to a neutral frame too: 'first' takes the first photograph of each folder,"
        " 'dataset' the dataset's own; else a CSV file with the columns image and neutral.",
        show_default=False,
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(help="A folder with a landmark file for each photograph, instead of dlib.", show_default=False),
]
Detect = Annotated[bool, typer.Option("--detect", help="Use dlib even where the dataset has landmarks.")]
NoFace = Annotated[NoFacePolicy, typer.Option(help="Without a face: leave it out (skip) or call it a failure (raise).")]
Several = Annotated[
    Policy, typer.Option(help="With several faces: take the largest, leave it out, or call it a failure.")
]
Redo = Annotated[bool, typer.Option("--redo", help="Replace results that were made in another way.")]


def prepare_command(
    root: Photographs,
    *,
    output: Results,
    dataset: Dataset = None,
    wanted_by: WantedBy = "cednn",
    size: Size = None,
    margin: Margin = None,
    detector: Detector = None,
    box: CropBox = None,
    neutral: NeutralFrames = None,
    landmarks: Landmarks = None,
    detect: Detect = False,
    no_face: NoFace = "skip",
    several: Several = "largest",
    workers: Workers = None,
    redo: Redo = False,
) -> None:
    """Find and align the face of every photograph under a folder, once and for all.

    May be stopped and killed at any time: the same command goes on where it was, and in the end the results are the
    same bytes. A second run checks them against the photographs and does again what has changed.

    What cannot be read or decoded is reported with its path, and the rest goes on. Exit code 0: all is done. 1: some
    photographs failed. 2: the input was wrong. 130 and 143: interrupted, or terminated.

    dlib's 68-point model was trained on iBUG 300-W, whose terms exclude commercial use.

    Examples:

    reference-models prepare photographs -o faces --for tra-net

    reference-models prepare sequences -o frames --for cednn --neutral first

    reference-models prepare sequences -o frames --for runs/cednn/model.safetensors --neutral first

    reference-models prepare CK+ -o frames --dataset ck+ --neutral dataset --workers 4
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.extras import MissingExtraError, require

    try:
        require("faces")
        from reference_models.preparation.plan import planned

        preparation, search = _wanted(wanted_by, size=size, margin=margin, box=box, difference=neutral is not None)
        chosen: dict[str, Any] = {"detector": detector, "no_face": no_face, "several": several}
        search = replace(search, **{name: value for name, value in chosen.items() if value is not None})
        plan = planned(root, output, dataset=dataset, neutral=neutral, landmarks=landmarks, detect=detect)
        report = _prepared(root, output, plan, preparation, search, workers, redo)
    except (ValueError, FileNotFoundError, MissingExtraError) as error:
        fail(_printable(str(error)))
    console = Console()
    _print(console, report, plan.ignored)
    console.print(f"Results: [bold]{escape(str(output))}[/bold]")
    if report.failures:
        raise typer.Exit(_FAILED)


def _prepared(
    root: Path, output: Path, plan: Plan, preparation: Preparation, search: Search, workers: int | None, redo: bool
) -> Report:
    """Prepare every item of the plan under a progress bar."""
    from reference_models import interrupts
    from reference_models.preparation.run import prepare
    from reference_models.processors import cores

    with _progress() as progress, interrupts.keeping("what is done is kept, and the same command resumes"):
        return prepare(
            root,
            output,
            plan.items,
            preparation,
            search,
            problems=plan.problems,
            workers=workers or cores(),
            redo=redo,
            advanced=_shown_by(progress, len(plan.items)),
        )


def _shown_by(progress: Progress, total: int) -> Callable[[Report], None]:
    """Return what moves the bar on by a photograph."""
    task = progress.add_task("Preparing", total=total, said="")

    def advanced(report: Report) -> None:
        failed = f"{len(report.failures):,} failed" if report.failures else ""
        progress.update(task, advance=1, said=f"{report.per_second:.1f}/s  {failed}")

    return advanced


def _wanted(
    wanted_by: str, *, size: int | None, margin: float | None, box: str | None, difference: bool
) -> tuple[Preparation, Search]:
    """Return what a network by name or a model by its file takes, with what the command changes in it."""
    from reference_models.preparation.preparation import PREPARATIONS, SEARCHES

    given: dict[str, Any] = {"size": size, "margin": margin, "box": box}
    changed = {name: value for name, value in given.items() if value is not None}
    name: Network = wanted_by.replace("_", "-")  # type: ignore[assignment]
    if name in PREPARATIONS:
        return replace(PREPARATIONS[name], difference=difference, **changed), SEARCHES[name]
    if not Path(wanted_by).exists():
        raise ValueError(f"--for must be one of {', '.join(PREPARATIONS)}, or a model's file, got {wanted_by!r}")
    if changed:
        raise ValueError(f"--{' and --'.join(changed)} must be left out: {wanted_by} says it")
    from reference_models.training.trained import read_model

    trained = read_model(wanted_by)
    if trained.preparation.difference and not difference:
        raise ValueError("--neutral must be given: the network takes difference maps")
    return replace(trained.preparation, difference=difference), SEARCHES[trained.recipe.preparation]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _print(console: Console, report: Report, ignored: int) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("photographs")
    table.add_column("", justify="right")
    for name, count in (
        ("one face", report.outcomes["one"]),
        ("the largest of several", report.outcomes["largest"]),
        ("no face, left out", report.outcomes["no face"]),
        ("several faces, left out", report.outcomes["several"]),
        ("failed", len(report.failures)),
        ("of all, done by an earlier run", report.kept),
        ("other files, not looked at", ignored),
    ):
        table.add_row(name, f"{count:,}")
    console.print(table)
    busy = sum(report.stages.values())
    if busy and report.done > report.kept:
        shares = ", ".join(f"{stage} {seconds / busy:.0%}" for stage, seconds in report.stages.items())
        processes = "1 process" if report.workers == 1 else f"{report.workers} processes"
        console.print(
            f"{report.per_second:.1f} photographs a second with {processes}; limited by [bold]{report.limit}[/bold]"
            f" ({shares})"
        )
    for path, reason in list(report.failures.items())[:_SHOWN]:
        console.print(f"[red]failed[/red] {escape(_printable(path))}: {escape(_printable(reason))}", soft_wrap=True)
    if len(report.failures) > _SHOWN:
        console.print(f"and {len(report.failures) - _SHOWN:,} more; all are in manifest.json")


def _printable(text: str) -> str:
    """Return text that can be printed, whatever bytes a file's name has."""
    return text.encode(errors="backslashreplace").decode()
