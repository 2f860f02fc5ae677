"""``attnzoo report``: one page of cost and speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report_command(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="The folder of results; by default the repository's benchmarks/results, if attnzoo is installed from "
            "its repository.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write one page of cost and speed: ledgers, layers, operations, networks, attaching.

    The page is drawn from committed results and needs nothing but itself: no request leaves it. What is not measured
    yet is named with the command that measures it. It needs the extra "report".

    Examples:

    attnzoo report -o report.html

    attnzoo report --results ~/attnzoo/benchmarks/results
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo import cli, files
    from attnzoo.report.page import page
    from attnzoo.report.results import Results, default_folder

    try:
        files.check_writable(output, ".html")
        found = Results(default_folder() if results is None else results)
        content = page(found).encode()
        files.write_output(output, content)
    except (ImportError, OSError, ValueError) as error:
        cli.fail(str(error))
    typer.echo(f"Report: {output}, {len(content) / 1e6:.1f} MB, from {len(found.names)} results in {found.folder}")
