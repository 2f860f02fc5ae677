"""``reference-models difference``: two photographs of one person, the steps between them, and CEDNN's maps."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reference_models.extras import MissingExtraError
from reference_models.faces.images import RGBImage, read_image


def difference_command(
    neutral: Annotated[Path, typer.Argument(help="A photograph of the face at rest.", show_default=False)],
    action: Annotated[Path, typer.Argument(help="A photograph of the same face in action.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path("difference.png"),
    arrays: Annotated[
        Path | None,
        typer.Option(help="Also write frames, mask, grey levels and maps to this .npz file.", show_default=False),
    ] = None,
    size: Annotated[int, typer.Option(min=16, max=4096, help="Side of the aligned frames in pixels.")] = 224,
    margin: Annotated[float, typer.Option(min=0, help="Pixels that the jaw moves inward and the brows up.")] = 5.0,
    relative: Annotated[bool, typer.Option("--relative", help="Let the margin grow and shrink with the face.")] = False,
    mask_from: Annotated[Literal["action", "neutral"], typer.Option(help="Whose landmarks make the mask.")] = "action",
    neutral_points: Annotated[
        Path | None, typer.Option(help="A file with the neutral face's 66 or 68 landmarks.", show_default=False)
    ] = None,
    action_points: Annotated[
        Path | None, typer.Option(help="A file with the acting face's 66 or 68 landmarks.", show_default=False)
    ] = None,
) -> None:
    """Show where a face has changed since its neutral photograph, as CEDNN sees it.

    Aligns both photographs by dlib's five points, takes their absolute difference inside the face, and binarises it at
    the paper's five thresholds. The sheet shows every step in the order of the paper's Figures 2 to 5.

    Landmarks are dlib's, or read from files: one "x y" a line (CK+), iBUG's .pts, or MATLAB's .mat (DISFA). dlib's
    68-point model was trained on iBUG 300-W, whose terms exclude commercial use.

    Examples:

    reference-models difference neutral.png smile.png -o sheet.png

    reference-models difference first.png last.png --arrays maps.npz

    reference-models difference first.png last.png --neutral-points first.txt --action-points last.txt
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import check_writable, write_output
    from reference_models import cli
    from reference_models.difference_sheet import draw_difference
    from reference_models.faces.alignment import AlignedFace, align_chip
    from reference_models.faces.difference import FaceDifference, difference
    from reference_models.faces.face import choose
    from reference_models.faces.given import GivenDetector, read_points
    from reference_models.faces.landmarks import DlibDetector

    def aligned(path: Path, points: Path | None) -> tuple[RGBImage, AlignedFace]:
        photograph = read_image(path)
        detector = DlibDetector() if points is None else GivenDetector(read_points(points), str(points))
        face = choose(detector.detect(photograph), name=str(path))
        return photograph, align_chip(photograph, face.points, size=size)

    def written(found: FaceDifference) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            neutral=found.neutral.image,
            action=found.action.image,
            mask=found.mask,
            levels=found.levels,
            maps=found.maps,
            thresholds=np.array(found.thresholds),
        )
        return buffer.getvalue()

    try:
        check_writable(output, ".png")
        if arrays is not None:
            check_writable(arrays, ".npz")
        with Console(stderr=True).status("Finding the faces"):
            _, at_rest = aligned(neutral, neutral_points)
            photograph, acting = aligned(action, action_points)
            found = difference(at_rest, acting, margin=margin, relative=relative, mask_from=mask_from)
            title = f"{neutral.name}  →  {action.name}"
            write_output(output, draw_difference(found, action_photograph=photograph, title=title))
        if arrays is not None:
            write_output(arrays, written(found))
    except (ValueError, MissingExtraError) as error:
        cli.fail(str(error))
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("grey level at least", "pixels", "of the face"):
        table.add_column(header, justify="right")
    inside = max(1, int(found.mask.sum()))
    for threshold, plane in zip(found.thresholds, found.maps, strict=True):
        table.add_row(f"{threshold:g}", f"{plane.sum():,}", f"{plane.sum() / inside:.1%}")
    console = Console()
    console.print(table)
    console.print(f"Sheet: [bold]{escape(str(output))}[/bold]")
    if arrays is not None:
        console.print(f"Arrays: [bold]{escape(str(arrays))}[/bold]")
