"""The ``reference-models`` command: the demonstration, and the list of networks.

What a user got wrong is told in one sentence on the error stream, with exit code 2. Heavy packages are imported by the
commands that need them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from reference_models.claims.command import claims_command
from reference_models.data.command import check_data_command, folds_command, synth_command
from reference_models.export.command import export_command
from reference_models.export.int8_command import quantize_command
from reference_models.faces.command import difference_command
from reference_models.interrupts import Interrupted, interruptible
from reference_models.look.command import look_command
from reference_models.prediction.command import predict_command
from reference_models.preparation.command import prepare_command
from reference_models.training.command import train_command
from reference_models.training.eval_command import eval_command

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
    """Run the command and exit.

    0 if all went well, 2 if the input was wrong; 130 after Ctrl-C and 143 after SIGTERM, with what is kept of the work.
    """
    try:
        with interruptible():
            app()
    except Interrupted as interrupted:
        typer.echo(f"reference-models: {interrupted}", err=True)
        sys.stdout.flush()
        os._exit(interrupted.exit_code)  # without waiting for processes and threads that still work


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
    from attnzoo.files import OutputError
    from reference_models.demo import run
    from reference_models.extras import MissingExtraError
    from reference_models.faces.images import ImageError
    from reference_models.faces.landmarks import NoFaceError

    try:
        run(image, output, neutral, console=Console(), progress=Console(stderr=True))
    except (ImageError, NoFaceError, OutputError, MissingExtraError) as error:
        fail(str(error))


app.command("check-data")(check_data_command)
app.command("folds")(folds_command)
app.command("synth")(synth_command)
app.command("difference")(difference_command)
app.command("prepare")(prepare_command)
app.command("look")(look_command)
app.command("train")(train_command)
app.command("eval")(eval_command)
app.command("predict")(predict_command)
app.command("claims")(claims_command)
app.command("export")(export_command)
app.command("quantize")(quantize_command)


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
