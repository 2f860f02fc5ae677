"""What the command shows: the stage it is at, and a table of what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attnzoo.export.exported import Exported

if TYPE_CHECKING:
    from rich.table import Table


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield a function that says on the error stream which stage has begun, with the time so far."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)
        yield lambda stage: shown.update(task, description=stage)


def summary(exported: Exported, title: str, runtime: str) -> Table:
    """Return the table of an export: inputs and outputs, what is free, how well it agrees, how large it is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("file", f"{exported.path}, {exported.path.stat().st_size / 1e6:.1f} MB")
    for name, shape in exported.inputs.items():
        table.add_row("input", Text(f"{name} ({', '.join(map(str, shape))})"))
    table.add_row("outputs", Text(", ".join(exported.outputs)))
    for sentence in exported.fixed:
        table.add_row("fixed", Text(sentence, style="yellow"))
    if exported.difference is None:
        table.add_row("checked", Text("no", style="yellow"))
    else:
        table.add_row("checked", f"{runtime}, {exported.tried} inputs: largest difference {exported.difference:.2g}")
    table.add_row("metadata", Text(", ".join(exported.metadata)))
    return table
