"""``attnzoo export``: export a timm or torchvision model, with or without attentions, for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnzoo.cli import options
from attnzoo.cli.console import REASONS, console, fail, first_line

Format = Annotated[str, typer.Option(help="onnx (for onnxruntime and others), pt2 (torch), aoti (compiled).")]
File = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file; MODEL.onnx by default.", show_default=False)
]
Dynamic = Annotated[str, typer.Option(help="Dynamic axes of the inputs: batch,size, one of them, or none.")]
Check = Annotated[bool, typer.Option(help="Run the file and compare it with the model.")]
Tolerance = Annotated[float, typer.Option(min=0.0, help="Largest difference, relative to the largest output or to 1.")]


def export_command(
    model: options.Model,
    layers: options.Layers = None,
    *,
    to: Format = "onnx",
    output: File = None,
    where: options.Where = "stage",
    init: options.Init = "identity",
    attachment: options.Attachments = None,
    weights: options.Weights = None,
    pretrained: options.Pretrained = False,
    image_size: options.ImageSize = None,
    num_classes: options.NumClasses = None,
    dynamic: Dynamic = "batch,size",
    check: Check = True,
    tolerance: Tolerance = 1e-4,
) -> None:
    """Export a model, with attentions attached, to ONNX, a torch.export program or a compiled library.

    Fused operations are exported as plain ones. The file is run at several batches and sizes, and deleted if it does
    not agree with the model. Weights are random (seed 0) unless they are given. In Python, use attnzoo.export_onnx,
    attnzoo.export_program or attnzoo.export_aoti, for any model.

    Examples:

    attnzoo export resnet18 cbam --attachment trained.safetensors --pretrained -o resnet18-cbam.onnx

    attnzoo export torchvision/mobilenet_v3_small --to pt2 --dynamic batch

    attnzoo export resnet18 se --weights model.safetensors --num-classes 7 --image-size 112
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo import checks, files
    from attnzoo.cli.progress import progress
    from attnzoo.cli.subject import subject
    from attnzoo.export.exported import export
    from attnzoo.export.formats import FORMATS, require

    chosen = {"where": where, "init": init, "attachments": attachment or [], "weights": weights}
    size = {"image_size": image_size, "num_classes": num_classes, "pretrained": pretrained}
    free = [] if dynamic == "none" else dynamic.split(",")
    try:
        checks.one_of("--to", to, FORMATS)
        form = FORMATS[to]
        path = output or Path(f"{model.rpartition('/')[2]}{form.suffix}")
        files.check_writable(path, form.suffix)
        require(form.packages)
        with progress() as stage:
            stage("Building the model")
            built = subject(model, layers or [], **chosen, **size)  # type: ignore[arg-type]
            given = (built.model, built.example, path, free, built.metadata)
            exported = export(form, *given, check, tolerance, stage)  # type: ignore[arg-type]
    except typer.Exit:
        raise
    except REASONS as error:
        fail(first_line(error))
    console().print(exported)
