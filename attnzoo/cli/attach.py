"""``attnzoo attach``: show the layers and costs that an attention would add to a timm model."""

from __future__ import annotations

import ast
from typing import Annotated, Any

import typer

from attnzoo.cli import options
from attnzoo.cli.console import UNSUITED, console, fail, first_line
from attnzoo.cli.timm_models import timm_model

LayerName = Annotated[str, typer.Argument(help="A name from attnzoo list, or timm/NAME.", show_default=False)]
Stages = Annotated[str | None, typer.Option(help="Only these stages, counted from 1: 3,4.", show_default=False)]
Previous = Annotated[str, typer.Option(help="For paired layers: input, first_conv, or a module inside the site.")]
OnMismatch = Annotated[
    str, typer.Option(help="For paired layers, where the two maps differ in shape: skip or project.")
]
LayerOptions = Annotated[
    list[str] | None, typer.Option(help="An option of the layer, NAME=VALUE; may be repeated.", show_default=False)
]


def attach_command(
    model: options.TimmModel,
    layer: LayerName,
    *,
    where: options.Where = "stage",
    stages: Stages = None,
    image_size: options.ImageSize = None,
    init: options.Init = "identity",
    previous: Previous = "input",
    on_mismatch: OnMismatch = "skip",
    option: LayerOptions = None,
) -> None:
    """Show at which modules of a timm model an attention would be attached, in which layout, and its cost.

    The weights are random: nothing is downloaded. In Python, use attnzoo.attach.

    Examples:

    attnzoo attach resnet18 cbam

    attnzoo attach resnet18 se --where block --stages 3,4 --option rd_ratio=0.125

    attnzoo attach vit_tiny_patch16_224 timm/eca --where block
    """  # noqa: D412 - typer keeps only paragraphs apart
    import torch

    from attnzoo.attach import attach
    from attnzoo.costs import Cost, cost
    from attnzoo.registry import layer_info

    network = timm_model(model, None)
    channels, height, width = network.pretrained_cfg["input_size"]
    if image_size is not None:
        height = width = image_size
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    costs: list[Cost] = []
    try:
        guided = layer_info(layer).kind == "guided"
        if not guided:
            costs.append(cost(network, images[:1]))
        chosen: dict[str, Any] = {"init": init, "previous": previous, "on_mismatch": on_mismatch}
        chosen["stages"] = None if stages is None else [int(stage) for stage in stages.split(",")]
        given = dict(map(_option, option or ()))
        attachment = attach(network, layer, where, **chosen, example_inputs=images, **given)
        if not guided:
            costs.append(cost(network, images[:1]))
    except UNSUITED as error:
        fail(first_line(error))
    screen = console()
    screen.print(attachment.plan)
    if costs:
        screen.print(_comparison(f"{model}, input 1x{channels}x{height}x{width}", *costs))


def _option(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``; the value is parsed as a Python literal, else it is the text.

    Raises:
        ValueError: If there is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--option must be NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def _comparison(title: str, bare: Any, attached: Any) -> Any:
    from rich import box
    from rich.table import Table

    table = Table("convention", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("bare", "attached"):
        table.add_column(column, justify="right")
    after = dict(attached.rows())
    for convention, figure in bare.rows():
        table.add_row(convention, figure, after.get(convention, ""))
    return table
