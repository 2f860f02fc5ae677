"""``reference-models list``: lists the networks."""

from __future__ import annotations

import inspect
import sys

from rich import box
from rich.console import Console
from rich.table import Table


def list_command() -> None:
    """List the networks: name for reference_models.create, class, description, paper.

    Examples:

    reference-models list
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models import list_models, model_class

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("class", no_wrap=True)
    for column in ("what it is", "paper"):
        table.add_column(column, overflow="fold")
    for name in list_models():
        network = model_class(name)
        summary, paper, *_ = inspect.cleandoc(sys.modules[network.__module__].__doc__ or "").split("\n\n")
        table.add_row(name, network.__name__, summary.replace("\n", " "), paper.replace("\n", " "))
    Console().print(table)
