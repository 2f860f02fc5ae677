"""The ``reference-models`` command: one file per subcommand, assembled in ``app``."""

from reference_models.cli.app import app, main

__all__ = ["app", "main"]
