"""The ``reference-models`` command: ``app`` puts it together, every subcommand has a file."""

from reference_models.cli.app import app, main

__all__ = ["app", "main"]
