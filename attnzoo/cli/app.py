"""The ``attnzoo`` command with its subcommands and version.

A wrong input causes a message of one sentence on the error stream and exit code 2. Packages that are slow to import are
imported by the subcommands that need them.
"""

from __future__ import annotations

from typing import Annotated

import typer

from attnzoo import __version__
from attnzoo.cli.attach import attach_command
from attnzoo.cli.cost import cost_command
from attnzoo.cli.doctor import doctor_command
from attnzoo.cli.export import export_command
from attnzoo.cli.info import info_command
from attnzoo.cli.list import list_command
from attnzoo.cli.look import look_command

app = typer.Typer(
    name="attnzoo",
    help="Plug-in attention for any PyTorch vision backbone.",
    epilog="Start with [bold]attnzoo list[/bold], then [bold]attnzoo info cbam[/bold].",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command and exit, with code 0 on success and 2 if the input was wrong."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attnzoo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("list")(list_command)
app.command("info")(info_command)
app.command("cost")(cost_command)
app.command("attach")(attach_command)
app.command("look")(look_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)
