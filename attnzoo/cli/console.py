"""What commands say: one sentence for a wrong input, and tables as wide as where they are read."""

from __future__ import annotations

import os
from typing import NoReturn

import typer
from rich.console import Console

PIPE_WIDTH = 140
"""Characters in a line of a file or a pipe."""
UNSUITED = (AssertionError, RuntimeError, TypeError, ValueError)
"""What models and layers raise on inputs and options that do not suit them."""
REASONS = (*UNSUITED, ImportError, OSError)
"""The same, and what missing packages and unreadable files raise."""


def fail(message: str) -> NoReturn:
    """Say ``message`` on the error stream and exit with code 2.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"attnzoo: {message}", err=True)
    raise typer.Exit(2)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def console() -> Console:
    """Return a console as wide as the terminal; files and pipes get lines of :data:`PIPE_WIDTH` characters."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console
