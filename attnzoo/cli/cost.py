"""``attnzoo cost``: count the cost of one forward pass of a timm model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from attnzoo.cli import options
from attnzoo.cli.console import UNSUITED, console, fail, first_line
from attnzoo.cli.timm_models import timm_model


def cost_command(
    model: options.TimmModel,
    *,
    image_size: options.ImageSize = None,
    num_classes: options.NumClasses = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show the cost of each layer.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Describe what each convention counts.")] = False,
) -> None:
    """Count the cost of a timm model for one image: parameters, operations by three conventions, activations.

    The weights are random: nothing is downloaded. In Python, use attnzoo.cost, for any module.

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
    except UNSUITED as error:
        fail(f"{model} does not run on images of {height}x{width}: {first_line(error)}")
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
