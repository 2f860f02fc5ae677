"""``reference-models prepare``: a folder of photographs becomes a folder of aligned faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from reference_models.faces.face import NoFacePolicy, Policy
from reference_models.preparation.recipe import RECIPES, Network
from reference_models.preparation.run import Report

_SHOWN = 20
_FAILED, _INTERRUPTED = 1, 130


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
    network: Annotated[Network, typer.Option("--for", help="The network whose frames are made.")] = "cednn",
    size: Annotated[
        int | None, typer.Option(min=16, max=4096, help="Side of the frames, instead of the network's.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, help="Margin around the face on each side, instead of the network's.")
    ] = None,
    detector: Annotated[
        Literal["dlib", "mtcnn"] | None, typer.Option(help="What finds the faces, instead of the network's.")
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
    photographs failed. 2: the input was wrong. 130: interrupted.

    dlib's 68-point model was trained on iBUG 300-W, whose terms exclude commercial use.

    Examples:

    reference-models prepare photographs -o faces --for tra-net

    reference-models prepare sequences -o frames --for cednn --neutral first

    reference-models prepare CK+ -o frames --dataset ck+ --neutral dataset --workers 4
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import OutputError
    from reference_models import cli
    from reference_models.extras import MissingExtraError
    from reference_models.preparation.plan import planned
    from reference_models.preparation.run import prepare
    from reference_models.preparation.workers import cores

    try:
        recipe = RECIPES[network]
        options = {"no_face": no_face, "several": several, "difference": neutral is not None}
        own = {"size": size, "margin": margin, "detector": detector}
        recipe = replace(recipe, **options, **{name: value for name, value in own.items() if value is not None})
        plan = planned(root, output, dataset=dataset, neutral=neutral, landmarks=landmarks, detect=detect)
        with _progress() as progress:
            task = progress.add_task("Preparing", total=len(plan.items), said="")

            def advanced(report: Report) -> None:
                failed = f"{len(report.failures):,} failed" if report.failures else ""
                progress.update(task, advance=1, said=f"{report.per_second:.1f}/s  {failed}")

            report = prepare(
                root,
                output,
                plan.items,
                recipe,
                problems=plan.problems,
                workers=workers or cores(),
                redo=redo,
                advanced=advanced,
            )
    except (ValueError, OutputError, MissingExtraError) as error:
        cli.fail(_printable(str(error)))
    except KeyboardInterrupt:
        typer.echo("reference-models: interrupted; what is done is kept, the same command goes on", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    console = Console()
    _print(console, report, plan.ignored)
    console.print(f"Results: [bold]{escape(str(output))}[/bold]")
    if report.failures:
        raise typer.Exit(_FAILED)


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
