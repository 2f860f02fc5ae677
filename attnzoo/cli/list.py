"""``attnzoo list``: list the attention layers."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer
from rich import box
from rich.table import Table

from attnzoo.cli.console import console, fail
from attnzoo.kinds import Kind


def list_command(
    *,
    kind: Annotated[
        str | None, typer.Option(help=f"Only layers of this kind: {', '.join(get_args(Kind))}.", show_default=False)
    ] = None,
    filter_: Annotated[
        str, typer.Option("--filter", help="Shell-style pattern for the name; 'timm/*' lists timm's attentions.")
    ] = "*",
) -> None:
    """List the attention layers: name, kind, paper and a summary of one line.

    Examples:

    attnzoo list

    attnzoo list --kind unary

    attnzoo list --filter 'timm/*'
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.registry import layer_info, list_layers

    try:
        names = list_layers(kind=cast("Kind | None", kind), filter=filter_)
    except ValueError as error:
        fail(str(error))
    if not names:
        fail(f"no layer matches --filter {filter_!r}" + (f" --kind {kind}" if kind else ""))
    table = Table(box=box.SIMPLE_HEAD, row_styles=["", "dim"])
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("kind", no_wrap=True)
    for column in ("paper", "summary"):
        table.add_column(column, overflow="fold")
    for info in map(layer_info, names):
        table.add_row(info.name, info.kind, info.paper, info.summary)
    console().print(table)
