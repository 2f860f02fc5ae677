"""``reference-models ledger``: compares the papers' printed counts with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reference_models.cli.console import fail


def ledger_command(
    *,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)
    ] = None,
) -> None:
    """Print the papers' counts of parameters and operations with ours, by building each network.

    Our count agrees if it rounds to the printed figure. Takes about a minute and downloads nothing.

    Examples:

    reference-models ledger

    reference-models ledger --json ledger.json
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.papers.ledger import ledger
    from reference_models.papers.ledger_report import notes, tables, write_json

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
