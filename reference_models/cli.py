"""The ``reference-models`` command: the demonstration, and the list of networks.

What a user got wrong is told in one sentence on the error stream, with exit code 2. Heavy packages are imported by the
commands that need them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from reference_models.faces.command import difference_command
from reference_models.look.command import look_command
from reference_models.preparation.command import prepare_command
from reference_models.training.command import eval_command, train_command

app = typer.Typer(
    name="reference-models",
    help="Four published networks for facial behaviour, built from attnzoo.",
    epilog="Start with [bold]reference-models demo[/bold].",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command and exit: 0 if all went well, 2 if the input was wrong."""
    app()


def fail(message: str) -> NoReturn:
    """Say ``message`` on the error stream and exit with code 2.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"reference-models: {message}", err=True)
    raise typer.Exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        from attnzoo import __version__

        typer.echo(f"reference-models {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("demo")
def demo(
    image: Annotated[
        Path | None,
        typer.Argument(help="A photograph with a face; scikit-image's astronaut by default.", show_default=False),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path(
        "reference-models-demo.png"
    ),
    neutral: Annotated[
        Path | None,
        typer.Option(help="The same face at rest: gives CEDNN its difference maps.", show_default=False),
    ] = None,
) -> None:
    """Show on one photograph what the library does.

    Puts CBAM and SE into a pretrained EfficientNet-Lite0, finds and aligns the face with dlib, runs TRA-Net, LLA-Net,
    CEDNN and DBA-Net on it, prints what each costs beside the paper's figure, and writes an overlay of attention.

    The four networks have random weights: costs are real, predictions would mean nothing and are not shown. dlib's
    68-point model was trained on iBUG 300-W, whose terms exclude commercial use.

    Examples:

    reference-models demo

    reference-models demo portrait.jpg -o portrait-attention.png

    reference-models demo smile.jpg --neutral rest.jpg
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.demo import run
    from reference_models.extras import MissingExtraError
    from reference_models.faces.images import ImageError
    from reference_models.faces.landmarks import NoFaceError
    from reference_models.output import OutputError

    try:
        run(image, output, neutral, console=Console(), progress=Console(stderr=True))
    except (ImageError, NoFaceError, OutputError, MissingExtraError) as error:
        fail(str(error))


@app.command("check-data")
def check_data(
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


@app.command("folds")
def write_folds(
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
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}")
    console = Console()
    console.print(fold_table(manifest, records))
    console.print(f"{output}: {manifest.fingerprint}", soft_wrap=True, highlight=False)


app.command("difference")(difference_command)
app.command("prepare")(prepare_command)
app.command("look")(look_command)
app.command("train")(train_command)
app.command("eval")(eval_command)


@app.command("synth")
def synth(
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
        typer.Option(min=16, help="Side of the pictures in pixels; 224, or 100 for raf-db.", show_default=False),
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

    from reference_models.data.tree import DataError
    from reference_models.extras import MissingExtraError
    from reference_models.output import OutputError, check_writable, write_whole

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        from reference_models.data.synthetic import contact_sheet, plan, write
        from reference_models.data.synthetic.layouts import writing
        from reference_models.data.synthetic.sheet import sheet_file

        if sheet is not None:
            check_writable(sheet)
        with Progress(*columns, console=Console(stderr=True)) as progress:
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
            write_whole(sheet_file(contact_sheet(shots)), sheet)
    except OSError as error:
        fail(f"cannot write {error.filename or output}: {error.strerror}; the same command continues from here")
    except (DataError, MissingExtraError, OutputError, ValueError) as error:
        fail(str(error))
    typer.echo(f"{output}: {done.rendered:,} pictures rendered, {done.kept:,} were there")


@app.command("list")
def show_list() -> None:
    """List the networks: name for reference_models.create, class, what it is, paper.

    Examples:

    reference-models list
    """  # noqa: D412 - typer keeps only paragraphs apart
    import inspect
    import sys

    from reference_models import list_models, model_class

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("class", no_wrap=True)
    for column in ("what it is", "paper"):
        table.add_column(column, overflow="fold")
    for name in list_models():
        network = model_class(name)
        summary, paper, *_ = inspect.cleandoc(sys.modules[network.__module__].__doc__ or "").split("\n\n")
        table.add_row(name, network.__name__, summary.replace("\n", " "), paper.replace("\n", " "))
    Console().print(table)


@app.command("ledger")
def show_ledger(
    *,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)
    ] = None,
) -> None:
    """Print every figure of the papers that can be computed beside ours, by building each network.

    Ours agrees if it rounds to what the paper prints. Takes about a minute and downloads nothing.

    Examples:

    reference-models ledger

    reference-models ledger --json ledger.json
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.ledger import ledger
    from reference_models.ledger_report import notes, tables, write_json

    if json_path is not None and not json_path.parent.is_dir():
        fail(f"--json must name a file in an existing directory, got {json_path}")
    with Console(stderr=True).status("counting") as status:
        figures = ledger(lambda done, total, name: status.update(f"{done + 1} of {total}: {name}"))
    console = Console()
    for table in tables(figures):
        console.print(table, "")
    console.print("\n".join(notes(figures)), highlight=False)
    if json_path is not None:
        try:
            write_json(figures, json_path)
        except OSError as error:
            fail(f"cannot write {json_path}: {error.strerror}")
