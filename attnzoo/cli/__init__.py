"""The ``attnzoo`` command; each subcommand has a file."""

from attnzoo.cli.app import app, main

__all__ = ["app", "main"]
