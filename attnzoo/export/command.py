"""``attnzoo export``: a timm or torchvision model, with attentions or without, as a file for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnzoo import options


def export_command(
    model: options.Model,
    layers: Annotated[
        list[str] | None, typer.Argument(help="Attentions to attach, from attnzoo list or timm/NAME; none for none.")
    ] = None,
    *,
    to: Annotated[str, typer.Option(help="onnx (for onnxruntime and others), pt2 (torch), aoti (compiled).")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; MODEL.onnx by default.", show_default=False)
    ] = None,
    where: options.Where = "stage",
    init: Annotated[str, typer.Option(help="identity (the default of attnzoo.attach) or paper.")] = "identity",
    attachment: options.Attachments = None,
    weights: options.Weights = None,
    pretrained: options.Pretrained = False,
    image_size: options.ImageSize = None,
    num_classes: options.NumClasses = None,
    dynamic: Annotated[str, typer.Option(help="What is to be free: batch,size, one of them, or none.")] = "batch,size",
    check: Annotated[bool, typer.Option(help="Run the file and compare it with the model.")] = True,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference, in units of the largest output or of 1.")
    ] = 1e-4,
) -> None:
    """Export a model, with attentions attached, to ONNX or to a program that torch alone runs.

    Fused operations become plain ones. The file is run at several batches and sizes and compared with the model; one
    that does not agree is not kept. Weights are random (seed 0) unless they are given. In Python: attnzoo.export_onnx
    and attnzoo.export_program, for any model.

    Examples:

    attnzoo export resnet18 cbam --attachment trained.safetensors --pretrained -o resnet18-cbam.onnx

    attnzoo export torchvision/mobilenet_v3_small --to pt2 --dynamic batch

    attnzoo export resnet18 se --weights model.safetensors --num-classes 7 --image-size 112
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo import checks, cli, files
    from attnzoo.export.exported import export
    from attnzoo.export.formats import FORMATS, require
    from attnzoo.export.progress import progress
    from attnzoo.subject import REASONS, subject

    try:
        checks.one_of("--to", to, FORMATS)
        form = FORMATS[to]
        path = output or Path(f"{model.rpartition('/')[2]}{form.suffix}")
        files.check_writable(path, form.suffix)
        require(form.packages)
        with progress() as stage:
            stage("Building the model")
            made = subject(
                model,
                layers or [],
                where=where,
                init=init,
                attachments=attachment or [],
                weights=weights,
                image_size=image_size,
                num_classes=num_classes,
                pretrained=pretrained,
            )
            free = [] if dynamic == "none" else dynamic.split(",")
            exported = export(
                form,
                made.model,
                made.example,
                path,
                free,  # type: ignore[arg-type]
                made.metadata,
                check,
                tolerance,
                stage,
            )
    except typer.Exit:
        raise
    except REASONS as error:
        cli.fail(cli.first_line(error))
    cli.console().print(exported)
