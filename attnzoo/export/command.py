"""``attnzoo export``: a timm or torchvision model, with attentions or without, as a file for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_REASONS = (AssertionError, ImportError, OSError, RuntimeError, TypeError, ValueError)  # models and layers say it so


def export_command(
    model: Annotated[
        str, typer.Argument(help="Name of a timm model, or torchvision/NAME.", metavar="MODEL", show_default=False)
    ],
    layers: Annotated[
        list[str] | None, typer.Argument(help="Attentions to attach, from attnzoo list or timm/NAME; none for none.")
    ] = None,
    *,
    to: Annotated[str, typer.Option(help="onnx (for onnxruntime and others), pt2 (torch), aoti (compiled).")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; MODEL.onnx by default.", show_default=False)
    ] = None,
    where: Annotated[str, typer.Option(help="stage, block, branch, a module's name, a glob, or re:PATTERN.")] = "stage",
    init: Annotated[str, typer.Option(help="identity (the default of attnzoo.attach) or paper.")] = "identity",
    attachment: Annotated[
        list[Path] | None,
        typer.Option(help="What Attachment.save wrote, once for each layer, in their order.", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="The whole model's state dict, with attention or without: .safetensors.", show_default=False),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="The library's trained weights; needs the network or its cache.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Height and width of the example; the model's own by default.")
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(min=0, max=1_000_000, help="Outputs of the classifier, 0 for none; the model's own by default."),
    ] = None,
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
    from attnzoo import checks, cli
    from attnzoo.export.exported import export
    from attnzoo.export.files import check_writable
    from attnzoo.export.formats import FORMATS, require
    from attnzoo.export.progress import progress
    from attnzoo.subject import subject

    given = attachment or []
    if given and len(given) != len(layers or []):
        cli.fail(f"--attachment must be given once for each of the {len(layers or [])} layers, got {len(given)}")
    try:
        checks.one_of("--to", to, FORMATS)
        form = FORMATS[to]
        path = output or Path(f"{model.rpartition('/')[2]}{form.suffix}")
        check_writable(path, form.suffix)
        require(form.packages)
        with progress() as stage:
            stage("Building the model")
            made = subject(
                model,
                layers or [],
                where=where,
                init=init,
                attachments=given,
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
    except _REASONS as error:
        cli.fail(cli.first_line(error))
    cli.console().print(exported)
