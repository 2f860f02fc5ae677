"""``reference-models look``: shows the gates of one network on a face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reference_models.cli.console import fail, wide_console


def look_command(
    image: Annotated[Path, typer.Argument(help="A photograph with a face.", show_default=False)],
    *,
    model: Annotated[
        str,
        typer.Option(
            help="The network: cednn, dba_net, lla_net, tra_net, or a model that 'train' has written.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path("look.png"),
    page: Annotated[
        Path | None,
        typer.Option(help="Also write an .html page with pictures, statistics and warnings.", show_default=False),
    ] = None,
    neutral: Annotated[
        Path | None,
        typer.Option(help="A photograph of the same person's neutral face, for difference maps.", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights for the network with its default options, .safetensors or .pth.", show_default=False
        ),
    ] = None,
) -> None:
    """Show the gates of one network on a face: a sheet of overlays, a page, a table of statistics.

    The face is detected and aligned with dlib, as in the demonstration. Without weights the network is untrained: its
    gates are shown, but are meaningless for the face. In Python, attnzoo.record does the same for any model.

    Examples:

    reference-models look face.jpg --model tra_net

    reference-models look face.jpg --model lla_net --page look.html

    reference-models look smile.jpg --model cednn --neutral rest.jpg -o smile-gates.png
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.extras import MissingExtraError
    from reference_models.look.run import run

    console = wide_console()
    try:
        run(
            image,
            model,
            output,
            page=page,
            neutral=neutral,
            weights=weights,
            console=console,
            progress=Console(stderr=True),
        )
    except (MissingExtraError, OSError, ValueError) as error:  # ImageError, NoFaceError and OutputError are ValueErrors
        fail(str(error))
