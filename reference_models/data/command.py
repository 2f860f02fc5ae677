"""``reference-models check-data``, ``folds`` and ``synth``: datasets looked at, divided, and made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def check_data_command(
    layout: Annotated[str, typer.Argument(help="disfa, disfa+, ck+, raf-db, aff-wild2, affectnet or own.")],
    root: Annotated[Path, typer.Argument(help="The folder of your copy.")],
    *,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also open every picture and landmark file, which takes a while.")
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Print every finding instead of twenty of each kind.")
    ] = False,
) -> None:
    """Say what is missing or odd in your copy of a dataset, file by file, before you train on it.

    Reads all labels, compares them with the pictures that are there, and counts what can be used. Writes nothing.

    Exit code 0: nothing is lost (notes may be left); 1: frames or labels are missing or damaged; 2: wrong input.

    Examples:

    reference-models check-data disfa /data/DISFA

    reference-models check-data raf-db /data/RAF-DB --pictures --all
    """  # noqa: D412 - typer keeps only paragraphs apart
    from rich.progress import Progress

    from reference_models import cli
    from reference_models.data import DataError, read
    from reference_models.data.check import finding_lines, open_everything, summary

    messages = Console(stderr=True)
    try:
        with messages.status(f"reading {root}"):
            reading = read(layout, root, incomplete=True)
    except (DataError, ValueError) as error:
        cli.fail(str(error))
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


def folds_command(
    layout: Annotated[str, typer.Argument(help="disfa, disfa+, ck+, raf-db, aff-wild2 or affectnet.")],
    root: Annotated[Path, typer.Argument(help="The folder of your copy.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write.")] = Path("folds.json"),
    select_on_test: Annotated[
        bool, typer.Option("--select-on-test", help="Choose the best epoch on the test side, as the papers do.")
    ] = False,
    threshold: Annotated[
        int | None,
        typer.Option(min=1, max=5, help="Level of a present unit; the paper's by default.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Number of folds where none are printed or published.")] = 3,
    seed: Annotated[
        int, typer.Option(help="Of what is drawn: validation subjects, and folds that are not printed.")
    ] = 0,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Use what can be used of a copy with errors.")
    ] = False,
) -> None:
    """Divide your copy of a dataset by subject, and write the manifest with its hash.

    Two results compare if their manifests have the same hash. The manifest holds names of subjects and a digest of the
    labels, no path and no picture.

    Examples:

    reference-models folds disfa /data/DISFA -o disfa.json

    reference-models folds ck+ /data/CK+ --select-on-test -o ck-papers-way.json
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models import cli
    from reference_models.data import DataError
    from reference_models.data.folds_command import fold_table, manifest_of

    try:
        with Console(stderr=True).status(f"reading {root}"):
            manifest, records = manifest_of(
                layout,
                root,
                selection="select-on-test" if select_on_test else "validation",
                threshold=threshold,
                count=count,
                seed=seed,
                incomplete=incomplete,
            )
        manifest.write(output)
    except (DataError, ValueError) as error:
        cli.fail(str(error))
    except OSError as error:
        cli.fail(f"cannot write {output}: {error.strerror}")
    console = Console()
    console.print(fold_table(manifest, records))
    console.print(f"{output}: {manifest.fingerprint}", soft_wrap=True, highlight=False)


def synth_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write; it may have been begun.")],
    *,
    layout: Annotated[str, typer.Option(help="disfa-plus, ck-plus or raf-db.")] = "disfa-plus",
    identities: Annotated[int, typer.Option(min=1, help="Number of persons.")] = 250,
    frames: Annotated[
        int,
        typer.Option(
            min=1,
            help="Of each person: expressive frames (disfa-plus), frames from neutral to apex (ck-plus), portraits "
            "(raf-db).",
        ),
    ] = 8,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, max=4096, help="Side of the pictures in pixels; 224, or 100 for raf-db.", show_default=False
        ),
    ] = None,
    style: Annotated[str, typer.Option(help="studio, or held-out: other heads, skin, light and camera.")] = "studio",
    seed: Annotated[int, typer.Option(min=0, help="What everything is drawn from.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are cores.", show_default=False)
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet to this PNG.", show_default=False)
    ] = None,
) -> None:
    """Make faces with known action units, in the layout of a dataset.

    MakeHuman's head, drawn from seeds: anyone can make the same faces, to the pixel. Each person has a neutral face and
    expressive ones, with levels 0 to 5 for each action unit, exact landmarks beside them, and random pose, light, skin,
    hair and background. The levels are parameters of a generator and no coder's scores.

    What was interrupted is completed by the same command.

    Examples:

    reference-models synth -o faces

    reference-models synth --layout ck-plus --identities 100 -o sequences --sheet sequences.png

    reference-models synth --style held-out --identities 50 -o unseen

    reference-models check-data disfa+ faces
    """  # noqa: D412 - typer keeps only paragraphs apart
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from attnzoo.files import OutputError, check_writable, write_output
    from reference_models import cli, interrupts
    from reference_models.data.tree import DataError
    from reference_models.extras import MissingExtraError, require

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        require("synth", *(() if sheet is None else ("report",)))
        from reference_models.data.synthetic import contact_sheet, plan, write
        from reference_models.data.synthetic.layouts import writing
        from reference_models.data.synthetic.sheet import sheet_file

        if sheet is not None:
            check_writable(sheet, ".png")
        kept = interrupts.keeping("the pictures that were written are kept, and the same command resumes")
        with kept, Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("rendering", total=None)
            done = write(
                output,
                layout,
                identities=identities,
                frames=frames,
                size=size,
                style=style,
                seed=seed,
                workers=workers,
                report=lambda count, total: progress.update(task, completed=count, total=total),
            )
        if sheet is not None:
            kind = writing(layout).kind
            shots = plan(kind, identities=min(identities, 6), frames=frames, seed=seed, style_name=style)
            write_output(sheet, sheet_file(contact_sheet(shots)))
    except OSError as error:
        cli.fail(f"cannot write {error.filename or output}: {error.strerror}; the same command continues from here")
    except (DataError, MissingExtraError, OutputError, ValueError) as error:
        cli.fail(str(error))
    typer.echo(f"{output}: {done.rendered:,} pictures rendered, {done.kept:,} were there")
