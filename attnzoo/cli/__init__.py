"""The ``attnzoo`` command: ``app`` puts it together, every subcommand has a file."""

from attnzoo.cli.app import app, main

__all__ = ["app", "main"]
