"""``reference-models check-data``: reports missing, damaged and unexpected files in a copy of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reference_models.cli.console import fail


def check_data_command(
    layout: Annotated[str, typer.Argument(help="disfa, disfa+, ck+, raf-db, aff-wild2, affectnet or own.")],
    root: Annotated[Path, typer.Argument(help="Folder of your copy.")],
    *,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also open every picture and landmark file; this takes a while.")
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Print every finding instead of twenty of each kind.")
    ] = False,
) -> None:
    """Report missing, damaged and unexpected files in your copy of a dataset, before you train on it.

    Reads all labels, compares them with the existing pictures, and counts the usable frames. Writes nothing.

    Exit code 0: no frame or label is lost (there may be notes); 1: frames or labels are missing or damaged; 2: wrong
    input.

    Examples:

    reference-models check-data disfa /data/DISFA

    reference-models check-data raf-db /data/RAF-DB --pictures --all
    """  # noqa: D412 - typer keeps only paragraphs apart
    from rich.progress import Progress

    from reference_models.data import DataError, read
    from reference_models.data.check import finding_lines, open_everything, summary

    messages = Console(stderr=True)
    try:
        with messages.status(f"reading {root}"):
            reading = read(layout, root, incomplete=True)
    except (DataError, ValueError) as error:
        fail(str(error))
    findings = list(reading.findings)
    if pictures:
        with Progress(console=messages, transient=True) as progress:
            task = progress.add_task("opening pictures", total=len(reading.records))
            findings += open_everything(reading, lambda done: progress.update(task, completed=done))
    console = Console(soft_wrap=True)
    for line in finding_lines(findings, None if show_all else 20):
        console.print(line, highlight=False)
    console.print(summary(reading))
    errors = sum(finding.level == "error" for finding in findings)
    console.print(f"{errors:,} errors, {len(findings) - errors:,} notes", highlight=False)
    raise typer.Exit(1 if errors else 0)
