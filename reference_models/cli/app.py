"""The ``reference-models`` command with its subcommands and its version.

Errors in a user's input are reported in one sentence on the error stream, with exit code 2. Each subcommand imports the
heavy packages that it needs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from reference_models.cli.check_data import check_data_command
from reference_models.cli.claims import claims_command
from reference_models.cli.demo import demo_command
from reference_models.cli.difference import difference_command
from reference_models.cli.eval import eval_command
from reference_models.cli.export import export_command
from reference_models.cli.folds import folds_command
from reference_models.cli.ledger import ledger_command
from reference_models.cli.list import list_command
from reference_models.cli.look import look_command
from reference_models.cli.predict import predict_command
from reference_models.cli.prepare import prepare_command
from reference_models.cli.quantize import quantize_command
from reference_models.cli.synth import synth_command
from reference_models.cli.train import train_command
from reference_models.interrupts import Interrupted, interruptible

app = typer.Typer(
    name="reference-models",
    help="Four published networks for facial behaviour, built from attnzoo.",
    epilog="Start with [bold]reference-models demo[/bold].",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command and exit.

    Exit codes: 0 on success, 2 for wrong input, 130 after Ctrl-C, 143 after SIGTERM. After a signal a message says
    which results are kept.
    """
    try:
        with interruptible():
            app()
    except Interrupted as interrupted:
        typer.echo(f"reference-models: {interrupted}", err=True)
        sys.stdout.flush()
        os._exit(interrupted.exit_code)  # without waiting for other processes and threads


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


app.command("demo")(demo_command)
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
app.command("list")(list_command)
app.command("ledger")(ledger_command)
