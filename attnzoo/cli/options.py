"""Options that several commands share."""

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
    typer.Option(help="A file of Attachment.save; once for each layer, in their order.", show_default=False),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A state dict of the whole model, with or without attention: .safetensors.", show_default=False),
]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Use the library's trained weights; downloads them unless cached.")
]
ImageSize = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Height and width of the image; by default the model's.")
]
NumClasses = Annotated[
    int | None,
    typer.Option(min=0, max=1_000_000, help="Outputs of the classifier, 0 for none; by default the model's."),
]
Layers = Annotated[
    list[str] | None,
    typer.Argument(help="Attentions to attach, from attnzoo list or timm/NAME; none if the model has attention."),
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)]
Init = Annotated[str, typer.Option(help="identity (the output is at first that of the bare model) or paper.")]
