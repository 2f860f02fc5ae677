"""``reference-models synth``: renders synthetic faces in the layout of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reference_models.cli.console import fail
from reference_models.cli.options import Workers

Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder to write; an incomplete one is completed.")]
Layout = Annotated[str, typer.Option(help="disfa-plus, ck-plus or raf-db.")]
Persons = Annotated[int, typer.Option(min=1, help="Number of persons.")]
FramesOfEach = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number for each person of expressive frames (disfa-plus), of frames from neutral to apex (ck-plus), or "
        "of portraits (raf-db).",
    ),
]
PictureSize = Annotated[
    int | None,
    typer.Option(min=16, max=4096, help="Side of the pictures in pixels; 224, or 100 for raf-db.", show_default=False),
]
FaceStyle = Annotated[str, typer.Option(help="studio, or held-out, which has other heads, skin, light and camera.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
Sheet = Annotated[Path | None, typer.Option(help="Also write a contact sheet to this PNG.", show_default=False)]


def synth_command(
    output: Folder,
    *,
    layout: Layout = "disfa-plus",
    identities: Persons = 250,
    frames: FramesOfEach = 8,
    size: PictureSize = None,
    style: FaceStyle = "studio",
    seed: Seed = 0,
    workers: Workers = None,
    sheet: Sheet = None,
) -> None:
    """Render synthetic faces with known action units, in the layout of a dataset.

    The faces are drawn from MakeHuman's head model and a seed: the same options give the same pixels everywhere. Each
    person has a neutral face and expressive ones, with levels 0 to 5 for each action unit, exact landmarks, and random
    pose, light, skin, hair and background. The levels are parameters of a generator, not a human coder's scores.

    The same command completes an interrupted one.

    Examples:

    reference-models synth -o faces

    reference-models synth --layout ck-plus --identities 100 -o sequences --sheet sequences.png

    reference-models synth --style held-out --identities 50 -o unseen

    reference-models check-data disfa+ faces
    """  # noqa: D412 - typer keeps only paragraphs apart
    from attnzoo.files import OutputError
    from reference_models.data.tree import DataError
    from reference_models.extras import MissingExtraError, require

    options = {"identities": identities, "frames": frames, "size": size, "style": style, "seed": seed}
    try:
        require("synth", *(() if sheet is None else ("report",)))
        done = _write(output, layout, sheet, workers=workers, **options)
    except OSError as error:
        fail(f"cannot write {error.filename or output}: {error.strerror}; the same command continues from here")
    except (DataError, MissingExtraError, OutputError, ValueError) as error:
        fail(str(error))
    typer.echo(f"{output}: {done.rendered:,} pictures rendered, {done.kept:,} were there")


def _write(output: Path, layout: str, sheet: Path | None, *, workers: int | None, **options: Any) -> Any:
    """Write the folder under a progress bar, and the contact sheet; return the result of ``write``."""
    from attnzoo.files import check_writable, write_output
    from reference_models import interrupts
    from reference_models.data.synthetic import contact_sheet, plan, write
    from reference_models.data.synthetic.layouts import writing
    from reference_models.data.synthetic.sheet import sheet_file

    if sheet is not None:
        check_writable(sheet, ".png")
    kept = interrupts.keeping("the pictures that were written are kept, and the same command resumes")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with kept, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("rendering", total=None)

        def report(count: int, total: int) -> None:
            progress.update(task, completed=count, total=total)

        done = write(output, layout, workers=workers, report=report, **options)
    if sheet is not None:
        drawn = {"frames": options["frames"], "seed": options["seed"], "style_name": options["style"]}
        shots = plan(writing(layout).kind, identities=min(options["identities"], 6), **drawn)
        write_output(sheet, sheet_file(contact_sheet(shots)))
    return done
