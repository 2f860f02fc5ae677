"""``attnzoo look``: show the gates of a model for one photograph."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnzoo.cli import options
from attnzoo.cli.console import REASONS, console, fail, first_line

if TYPE_CHECKING:
    from attnzoo.cli.subject import Subject
    from attnzoo.recorder import Recorder

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Pillow's decoders have no common exception for damaged files: they raise any of these.
_DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)

Photograph = Annotated[Path, typer.Argument(help="A photograph.", show_default=False)]
Sheet = Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")]
Page = Annotated[
    Path | None,
    typer.Option(help="An .html page to write too: pictures, statistics, warnings.", show_default=False),
]
Only = Annotated[str, typer.Option(help="Shell-style pattern: only gates whose names match.")]


def look_command(
    image: Photograph,
    model: options.Model,
    layers: options.Layers = None,
    *,
    output: Sheet = Path("look.png"),
    page: Page = None,
    where: options.Where = "stage",
    attachment: options.Attachments = None,
    weights: options.Weights = None,
    pretrained: options.Pretrained = False,
    image_size: options.ImageSize = None,
    num_classes: options.NumClasses = None,
    only: Only = "*",
) -> None:
    """Show the gates of a model for one photograph: a PNG of overlays, an HTML page, a table of statistics.

    The photograph is resized to the model's input size, without keeping its aspect ratio. Weights are random (seed 0)
    unless they are given; random weights show that the command works, and nothing about the photograph. In Python, use
    attnzoo.record, for any model.

    Examples:

    attnzoo look photo.jpg resnet18 cbam

    attnzoo look photo.jpg seresnet50 --pretrained -o gates.png

    attnzoo look photo.jpg resnet18 cbam --page look.html

    attnzoo look photo.jpg resnet50 cbam --attachment trained.safetensors --only '*:spatial'

    attnzoo look photo.jpg resnet18 cbam --weights model.safetensors --num-classes 7 --image-size 112
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo import files
    from attnzoo.cli.subject import subject

    chosen = {"where": where, "init": "identity", "attachments": attachment or [], "weights": weights}
    size = {"image_size": image_size, "num_classes": num_classes, "pretrained": pretrained}
    try:
        files.check_writable(output, ".png")
        if page is not None:
            files.check_writable(page, ".html")
        pixels = _read(image)
        built = subject(model, layers or [], **chosen, **size)  # type: ignore[arg-type]
        recorded = _recorded(built, pixels, only, model)
        title = f"{model}{''.join(f' + {layer}' for layer in layers or [])} on {image.name}"
        recorded.sheet(output, pixels, title=title)
        if page is not None:
            recorded.page(page, pixels, title=title)
    except typer.Exit:  # a RuntimeError whose message was printed already
        raise
    except REASONS as error:
        fail(first_line(error))
    _show(recorded, output, page)


def _recorded(subject: Subject, pixels: Any, only: str, name: str) -> Recorder:
    """Run the model on the photograph and return the recorder.

    Raises:
        ValueError: If the model has no gate whose name matches.
    """
    import torch

    from attnzoo.recorder import record

    with torch.inference_mode(), warnings.catch_warnings(), record(subject.model, only=only) as recorded:
        warnings.simplefilter("ignore", RuntimeWarning)  # the table shows the alerts
        subject.model(_normalised(pixels, subject.metadata))
    if not recorded.gates:
        raise ValueError(f"{name} has no gate to see, or none matches --only: name a layer to attach, such as cbam")
    return recorded


def _show(recorded: Recorder, output: Path, page: Path | None) -> None:
    """Print the table of statistics, the warnings, and the paths of the files."""
    screen = console()
    screen.print(recorded.table())
    for alert in recorded.alerts():
        screen.print(alert, style="red", markup=False)
    screen.print(f"Sheet: {output}", markup=False)
    if page is not None:
        screen.print(f"Page: {page}", markup=False)


def _read(path: Path) -> Any:
    """Return the photograph's pixels (H, W, 3), uint8, rotated by its EXIF orientation.

    Raises:
        ValueError: If there is no such file, or it cannot be decoded.
    """
    import numpy as np
    from PIL import Image, ImageOps

    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow's warnings about unusual metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except _DAMAGE as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} has too many pixels: {error}") from error


def _normalised(pixels: Any, config: Mapping[str, Any]) -> Any:
    """Return the photograph resized to the model's input size and normalised, (1, 3, H, W)."""
    import numpy as np
    import torch
    from PIL import Image

    channels, height, width = config["input_size"]
    if channels != 3:
        raise ValueError(f"the model must take RGB images, but its have {channels} channels")
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    x = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (x - mean) / std
