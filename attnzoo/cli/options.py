"""Options that several commands take, spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Argument(help="Name of a timm model, or torchvision/NAME.", metavar="MODEL", show_default=False)
]
TimmModel = Annotated[str, typer.Argument(help="Name of a timm model, such as resnet18.", show_default=False)]
Where = Annotated[str, typer.Option(help="stage, block, branch, a module's name, a glob, or re:PATTERN.")]
Attachments = Annotated[
    list[Path] | None,
    typer.Option(help="What Attachment.save wrote, once for each layer, in their order.", show_default=False),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="The whole model's state dict, with attention or without: .safetensors.", show_default=False),
]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="The library's trained weights; needs the network or its cache.")
]
ImageSize = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Height and width of the image; the model's own by default.")
]
NumClasses = Annotated[
    int | None,
    typer.Option(min=0, max=1_000_000, help="Outputs of the classifier, 0 for none; the model's own by default."),
]
Layers = Annotated[
    list[str] | None,
    typer.Argument(help="Attentions to attach, from attnzoo list or timm/NAME; none for a model that has its own."),
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)]
Init = Annotated[str, typer.Option(help="identity (starts as the bare model) or paper.")]
