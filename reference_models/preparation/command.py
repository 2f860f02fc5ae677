"""``reference-models prepare``: a folder of photographs becomes a folder of aligned faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from reference_models.faces.face import NoFacePolicy, Policy
from reference_models.preparation.preparation import PREPARATIONS, SEARCHES, Finder, Network, Preparation, Search
from reference_models.preparation.run import Report

_SHOWN = 20
_FAILED = 1


def prepare_command(
    root: Annotated[Path, typer.Argument(help="The folder with the photographs.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Prepare what this dataset's labels name, with its own landmarks: disfa, disfa+, ck+, raf-db,"
            " aff-wild2, affectnet or own.",
            show_default=False,
        ),
    ] = None,
    wanted_by: Annotated[
        str,
        typer.Option(
            "--for",
            help="Whose frames are made: tra-net, lla-net, cednn, dba-net, or a model that 'train' has written.",
        ),
    ] = "cednn",
    size: Annotated[
        int | None, typer.Option(min=16, max=4096, help="Side of the frames, instead of the network's.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, help="Margin around the face on each side, instead of the network's.")
    ] = None,
    detector: Annotated[
        Finder | None,
        typer.Option(
            help="What finds the faces: dlib, mtcnn, or aligned (nothing: the photographs are such frames already).",
            show_default=False,
        ),
    ] = None,
    box: Annotated[
        Literal["landmarks", "detector"] | None,
        typer.Option(
            help="What lla-net and dba-net crop: a square that follows from the landmarks, whatever found them, or the"
            " detector's own box.",
            show_default=False,
        ),
    ] = None,
    neutral: Annotated[
        str | None,
        typer.Option(
            help="Store the difference to a neutral frame too: 'first' takes the first photograph of each folder,"
            " 'dataset' the dataset's own; else a CSV file with the columns image and neutral.",
            show_default=False,
        ),
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(help="A folder with a landmark file for each photograph, instead of dlib.", show_default=False),
    ] = None,
    detect: Annotated[bool, typer.Option("--detect", help="Use dlib even where the dataset has landmarks.")] = False,
    no_face: Annotated[
        NoFacePolicy, typer.Option(help="Without a face: leave it out (skip) or call it a failure (raise).")
    ] = "skip",
    several: Annotated[
        Policy, typer.Option(help="With several faces: take the largest, leave it out, or call it a failure.")
    ] = "largest",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes; as many as processors by default.", show_default=False),
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Replace results that were made in another way.")] = False,
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
    from reference_models import cli, interrupts
    from reference_models.extras import MissingExtraError, require
    from reference_models.preparation.plan import planned
    from reference_models.preparation.run import prepare
    from reference_models.processors import cores

    try:
        require("faces")
        preparation, search = _wanted(wanted_by, size=size, margin=margin, box=box, difference=neutral is not None)
        chosen = {"detector": detector, "no_face": no_face, "several": several}
        search = replace(search, **{name: value for name, value in chosen.items() if value is not None})
        plan = planned(root, output, dataset=dataset, neutral=neutral, landmarks=landmarks, detect=detect)
        with _progress() as progress:
            task = progress.add_task("Preparing", total=len(plan.items), said="")

            def advanced(report: Report) -> None:
                failed = f"{len(report.failures):,} failed" if report.failures else ""
                progress.update(task, advance=1, said=f"{report.per_second:.1f}/s  {failed}")

            with interrupts.keeping("what is done is kept, and the same command resumes"):
                report = prepare(
                    root,
                    output,
                    plan.items,
                    preparation,
                    search,
                    problems=plan.problems,
                    workers=workers or cores(),
                    redo=redo,
                    advanced=advanced,
                )
    except (ValueError, FileNotFoundError, MissingExtraError) as error:
        cli.fail(_printable(str(error)))
    console = Console()
    _print(console, report, plan.ignored)
    console.print(f"Results: [bold]{escape(str(output))}[/bold]")
    if report.failures:
        raise typer.Exit(_FAILED)


def _wanted(
    wanted_by: str, *, size: int | None, margin: float | None, box: str | None, difference: bool
) -> tuple[Preparation, Search]:
    """Return what a network by name or a model by its file takes, with what the command changes in it."""
    given: dict[str, Any] = {"size": size, "margin": margin, "box": box}
    changed = {name: value for name, value in given.items() if value is not None}
    if wanted_by in PREPARATIONS:
        network: Network = wanted_by  # type: ignore[assignment]
        return replace(PREPARATIONS[network], difference=difference, **changed), SEARCHES[network]
    if not Path(wanted_by).exists():
        raise ValueError(f"--for must be one of {', '.join(PREPARATIONS)}, or a model's file, got {wanted_by!r}")
    from reference_models.training.trained import read_model

    if changed:
        raise ValueError(f"--{' and --'.join(changed)} must be left out: {wanted_by} says it")
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
