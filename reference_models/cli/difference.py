"""``reference-models difference``: CEDNN's difference maps of two photographs of one person, with all steps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reference_models.choices import Side
from reference_models.cli.console import fail

if TYPE_CHECKING:
    from reference_models.faces.alignment import AlignedFace
    from reference_models.faces.difference import FaceDifference

Rest = Annotated[Path, typer.Argument(help="A photograph of the neutral face.", show_default=False)]
Action = Annotated[Path, typer.Argument(help="A photograph of the same person's face in action.", show_default=False)]
Picture = Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")]
Arrays = Annotated[
    Path | None,
    typer.Option(help="Also write aligned faces, mask, grey levels and maps to this .npz file.", show_default=False),
]
FrameSize = Annotated[int, typer.Option(min=16, max=4096, help="Side of the aligned faces in pixels.")]
Margin = Annotated[float, typer.Option(min=0, help="Pixels by which the mask moves inward at the jaw and up at brows.")]
Relative = Annotated[bool, typer.Option("--relative", help="Scale the margin with the face.")]
MaskFrom = Annotated[Side, typer.Option(help="The photograph whose landmarks define the mask.")]
NeutralPoints = Annotated[
    Path | None, typer.Option(help="A file with the neutral face's 66 or 68 landmarks.", show_default=False)
]
ActionPoints = Annotated[
    Path | None, typer.Option(help="A file with the acting face's 66 or 68 landmarks.", show_default=False)
]


def difference_command(
    neutral: Rest,
    action: Action,
    *,
    output: Picture = Path("difference.png"),
    arrays: Arrays = None,
    size: FrameSize = 224,
    margin: Margin = 5.0,
    relative: Relative = False,
    mask_from: MaskFrom = "action",
    neutral_points: NeutralPoints = None,
    action_points: ActionPoints = None,
) -> None:
    """Compute CEDNN's difference maps: where a face differs from its neutral photograph.

    Aligns both photographs by dlib's five points, takes their absolute difference inside the face, and binarises it at
    the paper's five thresholds. The sheet shows every step in the order of the paper's Figures 2 to 5.

    Landmarks come from dlib or from files: one "x y" per line (CK+), iBUG's .pts, or MATLAB's .mat (DISFA). dlib's
    68-point model was trained on iBUG 300-W, whose terms exclude commercial use.

    Examples:

    reference-models difference neutral.png smile.png -o sheet.png

    reference-models difference first.png last.png --arrays maps.npz

    reference-models difference first.png last.png --neutral-points first.txt --action-points last.txt
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import check_writable
    from reference_models.extras import MissingExtraError

    try:
        check_writable(output, ".png")
        if arrays is not None:
            check_writable(arrays, ".npz")
        pair = ((neutral, neutral_points), (action, action_points))
        result = _compare_and_write(pair, output, arrays, size, margin=margin, relative=relative, mask_from=mask_from)
    except (ValueError, MissingExtraError) as error:
        fail(str(error))
    console = Console()
    console.print(_table(result))
    console.print(f"Sheet: [bold]{escape(str(output))}[/bold]")
    if arrays is not None:
        console.print(f"Arrays: [bold]{escape(str(arrays))}[/bold]")


def _compare_and_write(
    pair: Sequence[tuple[Path, Path | None]],
    output: Path,
    arrays: Path | None,
    size: int,
    **options: Any,
) -> FaceDifference:
    """Detect both faces, compare them, and write the sheet and the arrays.

    Args:
        pair: The neutral and the action photograph, each with its landmark file or None.
        output: Path of the sheet.
        arrays: Path of the .npz file; None writes none.
        size: Side of the aligned faces in pixels.
        **options: Options of :func:`reference_models.faces.difference`.
    """
    from attnzoo.files import write_output
    from reference_models.faces.difference import difference
    from reference_models.faces.images import read_image
    from reference_models.figures.difference_sheet import draw_difference

    (neutral, _), (action, _) = pair
    with Console(stderr=True).status("Finding the faces"):
        neutral_face, action_face = (_aligned(path, points, size) for path, points in pair)
        result = difference(neutral_face, action_face, **options)
        title = f"{neutral.name}  →  {action.name}"
        write_output(output, draw_difference(result, action_photograph=read_image(action), title=title))
    if arrays is not None:
        write_output(arrays, _packed(result))
    return result


def _aligned(path: Path, points: Path | None, size: int) -> AlignedFace:
    """Return the aligned face of a photograph, detected by dlib unless ``points`` names a landmark file."""
    from reference_models.faces.alignment import align_chip
    from reference_models.faces.face import choose
    from reference_models.faces.given import GivenDetector, read_points
    from reference_models.faces.images import read_image
    from reference_models.faces.landmarks import DlibDetector

    photograph = read_image(path)
    detector = DlibDetector() if points is None else GivenDetector(read_points(points), str(points))
    face = choose(detector.detect(photograph), name=str(path))
    return align_chip(photograph, face.points, size=size)


def _packed(result: FaceDifference) -> bytes:
    """Return the content of an .npz file with the steps of a difference."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        neutral=result.neutral.image,
        action=result.action.image,
        mask=result.mask,
        levels=result.levels,
        maps=result.maps,
        thresholds=np.array(result.thresholds),
    )
    return buffer.getvalue()


def _table(result: FaceDifference) -> Table:
    """Return a table of the number of pixels in the face that reach each threshold."""
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("grey level at least", "pixels", "of the face"):
        table.add_column(header, justify="right")
    inside = max(1, int(result.mask.sum()))
    for threshold, plane in zip(result.thresholds, result.maps, strict=True):
        table.add_row(f"{threshold:g}", f"{plane.sum():,}", f"{plane.sum() / inside:.1%}")
    return table
