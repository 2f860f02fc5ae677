"""The ``attnzoo`` command: which attentions there are, what each takes, and what a model costs.

What a user got wrong is told in one sentence on the error stream, with exit code 2. Heavy packages are imported by the
commands that need them.
"""

from __future__ import annotations

import difflib
import inspect
import os
from typing import Annotated, Any, NoReturn, cast, get_args

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from attnzoo import __version__, options
from attnzoo.attach.command import attach_command
from attnzoo.export.command import export_command
from attnzoo.recorder.command import look_command
from attnzoo.registry import Kind, LayerInfo, layer_info, list_layers
from attnzoo.report.command import report_command

PIPE_WIDTH = 140

app = typer.Typer(
    name="attnzoo",
    help="Plug-in attention for any PyTorch vision backbone.",
    epilog="Start with [bold]attnzoo list[/bold], then [bold]attnzoo info cbam[/bold].",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command and exit: 0 if all went well, 2 if the input was wrong."""
    app()


def fail(message: str) -> NoReturn:
    """Say ``message`` on the error stream and exit with code 2.

    Raises:
        typer.Exit: Always.
    """
    typer.echo(f"attnzoo: {message}", err=True)
    raise typer.Exit(2)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def console() -> Console:
    """Return a console as wide as the terminal; files and pipes get lines of :data:`PIPE_WIDTH` characters."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attnzoo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("list")
def show_list(
    *,
    kind: Annotated[
        str | None, typer.Option(help=f"Only layers of this kind: {', '.join(get_args(Kind))}.", show_default=False)
    ] = None,
    filter_: Annotated[
        str, typer.Option("--filter", help="Shell-style pattern for the name; 'timm/*' lists timm's attentions.")
    ] = "*",
) -> None:
    """List the attention layers: name, kind, paper and one line on what it does.

    Examples:

    attnzoo list

    attnzoo list --kind unary

    attnzoo list --filter 'timm/*'
    """  # noqa: D412 - typer keeps only paragraphs apart
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


@app.command("info")
def show_info(
    name: Annotated[str, typer.Argument(help="A name from attnzoo list, or timm/NAME.", show_default=False)],
) -> None:
    """Show what is known about one layer: its facts, its arguments with their defaults, its documentation.

    Examples:

    attnzoo info cbam

    attnzoo info timm/eca
    """  # noqa: D412 - typer keeps only paragraphs apart
    try:
        info = layer_info(name)
    except ValueError as error:
        fail(str(error))
    facts = [
        ("name", info.name),
        ("kind", info.kind),
        ("paper", info.paper),
        ("summary", info.summary),
        ("keeps", ", ".join(sorted(info.keeps)) or "nothing of the input"),
        *((f"not: {check}", reason) for check, reason in info.exceptions.items()),
    ]
    width = max(len(label) for label, _ in facts)
    lines = [f"{label:{width}}  {fact}" for label, fact in facts]
    typer.echo("\n".join([*lines, "", *_signature(info), "", inspect.cleandoc(info.cls.__doc__ or "")]).rstrip())


def _signature(info: LayerInfo) -> list[str]:
    """Return the call with one argument a line."""
    lines = []
    star = False
    for parameter in inspect.signature(info.cls).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            lines.append("    *,")
        lines.append(f"    {_argument(parameter)},")
    return [f"{getattr(info.cls, '__name__', info.name)}(", *lines, ")"]


def _argument(parameter: inspect.Parameter) -> str:
    """Return ``name: type = default`` as one would write it, without the quotes of postponed annotations."""
    text = str(parameter.replace(annotation=parameter.empty, default=parameter.empty))
    if parameter.annotation is not parameter.empty:
        annotation = parameter.annotation
        text += f": {annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)}"
    if parameter.default is not parameter.empty:
        default = parameter.default
        text += f" = {default.__name__ if isinstance(default, type) else repr(default)}"
    return text


@app.command("cost")
def show_cost(
    model: options.TimmModel,
    *,
    image_size: options.ImageSize = None,
    num_classes: options.NumClasses = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show each layer's share.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each convention counts.")] = False,
) -> None:
    """Count what one image costs a timm model: parameters, operations by three conventions, activations.

    The weights are random: nothing is downloaded. In Python, attnzoo.cost counts any module.

    Examples:

    attnzoo cost resnet18

    attnzoo cost resnet18 --explain

    attnzoo cost convnext_atto --image-size 288 --num-classes 7 --layers
    """  # noqa: D412 - typer keeps only paragraphs apart
    import torch

    from attnzoo.costs import CONVENTIONS, cost

    network = timm_model(model, num_classes)
    channels, height, width = network.pretrained_cfg["input_size"]
    if image_size is not None:
        height = width = image_size
    shape = (1, channels, height, width)
    try:
        measured = cost(network, torch.zeros(shape))
    except (AssertionError, RuntimeError, ValueError) as error:  # how models say that a size does not suit them
        fail(f"{model} does not run on images of {height}x{width}: {str(error).strip().splitlines()[0]}")
    table = Table(box=box.SIMPLE_HEAD, title=f"{model}, input {'x'.join(map(str, shape))}", title_justify="left")
    table.add_column("convention", overflow="fold")
    table.add_column("figure", justify="right", overflow="fold")
    if explain:
        table.add_column("what it counts", overflow="fold", style="dim")
    for convention, figure in measured.rows():
        table.add_row(convention, figure, *([CONVENTIONS.get(convention, "these count 0 there")] if explain else []))
    screen = console()
    screen.print(table)
    if layers:
        screen.print(measured.table())


def timm_model(name: str, num_classes: int | None, *, pretrained: bool = False) -> Any:
    """Return the timm model, by default with random weights.

    Raises:
        typer.Exit: If timm has none of that name, or not with that many classes.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        fail(f"timm has no model {name!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
    try:
        return timm.create_model(
            name, pretrained=pretrained, **({} if num_classes is None else {"num_classes": num_classes})
        )
    except (OSError, RuntimeError, ValueError) as error:  # OSError: weights that cannot be downloaded
        fail(f"timm cannot make {name!r}: {str(error).strip().splitlines()[0]}")


app.command("attach")(attach_command)
app.command("look")(look_command)
app.command("export")(export_command)
app.command("report")(report_command)
