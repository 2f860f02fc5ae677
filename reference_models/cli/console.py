"""Output of the commands: error messages, and a console for wide tables."""

from __future__ import annotations

import os
from typing import NoReturn

import typer
from rich.console import Console

PIPE_WIDTH = 140
"""Line width in characters for wide tables that are written to a file or a pipe."""


def fail(message: str) -> NoReturn:
    """Print ``message`` on the error stream and exit with code 2.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"reference-models: {message}", err=True)
    raise typer.Exit(2)


def wide_console() -> Console:
    """Return a console as wide as the terminal; files and pipes get lines of :data:`PIPE_WIDTH` characters."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console
