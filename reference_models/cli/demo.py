"""``reference-models demo``: demonstrates the library on one photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reference_models.cli.console import fail


def demo_command(
    image: Annotated[
        Path | None,
        typer.Argument(help="A photograph with a face; scikit-image's astronaut by default.", show_default=False),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path(
        "reference-models-demo.png"
    ),
    neutral: Annotated[
        Path | None,
        typer.Option(
            help="A photograph of the same person's neutral face, for CEDNN's difference maps.", show_default=False
        ),
    ] = None,
) -> None:
    """Demonstrate the library on one photograph.

    Attaches CBAM and SE to a pretrained EfficientNet-Lite0, detects and aligns the face with dlib, runs TRA-Net,
    LLA-Net, CEDNN and DBA-Net on it, prints the cost of each with the paper's figure, and writes an overlay of
    attention.

    The four networks have random weights: their costs are real, but predictions would be meaningless and are not
    shown. dlib's 68-point model was trained on iBUG 300-W, whose terms exclude commercial use.

    Examples:

    reference-models demo

    reference-models demo portrait.jpg -o portrait-attention.png

    reference-models demo smile.jpg --neutral rest.jpg
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import OutputError
    from reference_models.demo import run
    from reference_models.extras import MissingExtraError
    from reference_models.faces.images import ImageError
    from reference_models.faces.landmarks import NoFaceError

    try:
        run(image, output, neutral, console=Console(), progress=Console(stderr=True))
    except (ImageError, NoFaceError, OutputError, MissingExtraError) as error:
        fail(str(error))
