"""``reference-models difference``: two photographs of one person, the steps between them, and CEDNN's maps."""

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

Rest = Annotated[Path, typer.Argument(help="A photograph of the face at rest.", show_default=False)]
Action = Annotated[Path, typer.Argument(help="A photograph of the same face in action.", show_default=False)]
Picture = Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")]
Arrays = Annotated[
    Path | None,
    typer.Option(help="Also write frames, mask, grey levels and maps to this .npz file.", show_default=False),
]
FrameSize = Annotated[int, typer.Option(min=16, max=4096, help="Side of the aligned frames in pixels.")]
Margin = Annotated[float, typer.Option(min=0, help="Pixels that the jaw moves inward and the brows up.")]
Relative = Annotated[bool, typer.Option("--relative", help="Let the margin grow and shrink with the face.")]
MaskFrom = Annotated[Side, typer.Option(help="Whose landmarks make the mask.")]
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
    from attnzoo.files import check_writable
    from reference_models.extras import MissingExtraError

    try:
        check_writable(output, ".png")
        if arrays is not None:
            check_writable(arrays, ".npz")
        pair = ((neutral, neutral_points), (action, action_points))
        found = _drawn(pair, output, arrays, size, margin=margin, relative=relative, mask_from=mask_from)
    except (ValueError, MissingExtraError) as error:
        fail(str(error))
    console = Console()
    console.print(_table(found))
    console.print(f"Sheet: [bold]{escape(str(output))}[/bold]")
    if arrays is not None:
        console.print(f"Arrays: [bold]{escape(str(arrays))}[/bold]")


def _drawn(
    pair: Sequence[tuple[Path, Path | None]],
    output: Path,
    arrays: Path | None,
    size: int,
    **options: Any,
) -> FaceDifference:
    """Find both faces, compare them, and write the sheet and the arrays.

    Args:
        pair: The photographs at rest and in action, each with its file of landmarks if there is one.
        output: The sheet.
        arrays: The .npz file, if one is wanted.
        size: Side of the aligned frames in pixels.
        **options: Of :func:`reference_models.faces.difference`.
    """
    from attnzoo.files import write_output
    from reference_models.faces.difference import difference
    from reference_models.faces.images import read_image
    from reference_models.figures.difference_sheet import draw_difference

    (neutral, _), (action, _) = pair
    with Console(stderr=True).status("Finding the faces"):
        at_rest, acting = (_aligned(path, points, size) for path, points in pair)
        found = difference(at_rest, acting, **options)
        title = f"{neutral.name}  →  {action.name}"
        write_output(output, draw_difference(found, action_photograph=read_image(action), title=title))
    if arrays is not None:
        write_output(arrays, _packed(found))
    return found


def _aligned(path: Path, points: Path | None, size: int) -> AlignedFace:
    """Return the face of a photograph, found by dlib unless a file has its landmarks."""
    from reference_models.faces.alignment import align_chip
    from reference_models.faces.face import choose
    from reference_models.faces.given import GivenDetector, read_points
    from reference_models.faces.images import read_image
    from reference_models.faces.landmarks import DlibDetector

    photograph = read_image(path)
    detector = DlibDetector() if points is None else GivenDetector(read_points(points), str(points))
    face = choose(detector.detect(photograph), name=str(path))
    return align_chip(photograph, face.points, size=size)


def _packed(found: FaceDifference) -> bytes:
    """Return the steps as the bytes of an .npz file."""
    import numpy as np

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


def _table(found: FaceDifference) -> Table:
    """Return how many pixels of the face reach each threshold."""
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("grey level at least", "pixels", "of the face"):
        table.add_column(header, justify="right")
    inside = max(1, int(found.mask.sum()))
    for threshold, plane in zip(found.thresholds, found.maps, strict=True):
        table.add_row(f"{threshold:g}", f"{plane.sum():,}", f"{plane.sum() / inside:.1%}")
    return table
