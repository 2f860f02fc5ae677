"""Output of the commands: error messages, and a console of suitable width."""

from __future__ import annotations

import os
from typing import NoReturn

import typer
from rich.console import Console

PIPE_WIDTH = 140
"""Characters per line in a file or a pipe."""
UNSUITED = (AssertionError, RuntimeError, TypeError, ValueError)
"""The exceptions of models and layers for unsuitable arguments."""
REASONS = (*UNSUITED, ImportError, OSError)
"""The same, and the exceptions for missing packages and unreadable files."""


def fail(message: str) -> NoReturn:
    """Print ``message`` on the error stream and exit with code 2.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"attnzoo: {message}", err=True)
    raise typer.Exit(2)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def console() -> Console:
    """Return a console as wide as the terminal; files and pipes get lines of :data:`PIPE_WIDTH` characters."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console
