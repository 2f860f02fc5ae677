"""``reference-models prepare``: detects and aligns the faces of a folder of photographs."""

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

Photographs = Annotated[Path, typer.Argument(help="Folder of the photographs.", show_default=False)]
Results = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.", show_default=False)]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="Prepare the frames that this dataset's labels name, with the dataset's landmarks: disfa, disfa+, ck+,"
        " raf-db, aff-wild2, affectnet or own.",
        show_default=False,
    ),
]
WantedBy = Annotated[
    str,
    typer.Option(
        "--for",
        help="Network for which faces are aligned: tra-net, lla-net, cednn, dba-net, or a model that 'train' has"
        " written.",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(min=0, help="Margin on each side, as a fraction of the face's side, instead of the network's."),
]
Detector = Annotated[
    Finder | None,
    typer.Option(
        help="Face detector: dlib, mtcnn, or aligned for photographs that are aligned already.",
        show_default=False,
    ),
]
CropBox = Annotated[
    Box | None,
    typer.Option(
        help="Box that is cropped for lla-net and dba-net: a square computed from the landmarks, or the detector's"
        " box.",
        show_default=False,
    ),
]
NeutralFrames = Annotated[
    str | None,
    typer.Option(
        help="Also store the difference to a neutral frame: 'first' uses the first photograph of each folder,"
        " 'dataset' the dataset's neutral frames; else the path of a CSV file with the columns image and neutral.",
        show_default=False,
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(help="Folder with a landmark file for each photograph, used instead of dlib.", show_default=False),
]
Detect = Annotated[bool, typer.Option("--detect", help="Use dlib even if the dataset has landmarks.")]
NoFace = Annotated[
    NoFacePolicy,
    typer.Option(help="For photographs without a face: leave them out (skip) or count them as failures (raise)."),
]
Several = Annotated[
    Policy,
    typer.Option(
        help="For photographs with several faces: take the largest face, leave them out (skip) or count them as"
        " failures (raise)."
    ),
]
Redo = Annotated[bool, typer.Option("--redo", help="Replace results that were made with other options.")]


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
    """Detect and align the face of every photograph under a folder, and store the results for training.

    The command may be stopped or killed at any time: the same command resumes, and the results are the same bytes. A
    second run compares the results with the photographs, and repeats those that have changed.

    Photographs that cannot be read or decoded are reported with their paths, and the others are prepared. Exit code 0:
    all are done. 1: some photographs failed. 2: wrong input. 130 and 143: interrupted, or terminated.

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

        preparation, search = _preparation_and_search(
            wanted_by, size=size, margin=margin, box=box, difference=neutral is not None
        )
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
            advanced=_progress_callback(progress, len(plan.items)),
        )


def _progress_callback(progress: Progress, total: int) -> Callable[[Report], None]:
    """Return a function that advances the bar by one photograph and shows speed and failures."""
    task = progress.add_task("Preparing", total=total, status="")

    def advanced(report: Report) -> None:
        failed = f"{len(report.failures):,} failed" if report.failures else ""
        progress.update(task, advance=1, status=f"{report.per_second:.1f}/s  {failed}")

    return advanced


def _preparation_and_search(
    wanted_by: str, *, size: int | None, margin: float | None, box: str | None, difference: bool
) -> tuple[Preparation, Search]:
    """Return preparation and search for a network's name or a model's file, with the command's changes."""
    from reference_models.preparation.preparation import PREPARATIONS, SEARCHES

    options: dict[str, Any] = {"size": size, "margin": margin, "box": box}
    changed = {name: value for name, value in options.items() if value is not None}
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
        TextColumn("{task.fields[status]}"),
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
    """Return text with unprintable bytes of file names replaced by escape sequences."""
    return text.encode(errors="backslashreplace").decode()
