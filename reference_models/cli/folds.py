"""``reference-models folds``: divides a copy of a dataset by subject."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reference_models.cli.console import fail


def folds_command(
    layout: Annotated[str, typer.Argument(help="disfa, disfa+, ck+, raf-db, aff-wild2 or affectnet.")],
    root: Annotated[Path, typer.Argument(help="Folder of your copy.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write.")] = Path("folds.json"),
    select_on_test: Annotated[
        bool, typer.Option("--select-on-test", help="Choose the best epoch on the test side, as the papers do.")
    ] = False,
    threshold: Annotated[
        int | None,
        typer.Option(
            min=1, max=5, help="Level from which a unit is present; the paper's by default.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=2, help="Number of folds, for datasets without printed or published ones.")
    ] = 3,
    seed: Annotated[
        int, typer.Option(help="Seed of the validation subjects, and of folds that are neither printed nor published.")
    ] = 0,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Accept a copy with errors, and use its valid frames.")
    ] = False,
) -> None:
    """Divide your copy of a dataset by subject, and write the manifest with its hash.

    Two results are comparable if their manifests have the same hash. The manifest contains names of subjects and a
    digest of the labels, but no path and no picture.

    Examples:

    reference-models folds disfa /data/DISFA -o disfa.json

    reference-models folds ck+ /data/CK+ --select-on-test -o ck-papers-way.json
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.data import DataError
    from reference_models.data.folding import fold_table, manifest_of

    try:
        with Console(stderr=True).status(f"reading {root}"):
            manifest, records = manifest_of(
                layout,
                root,
                selection="select-on-test" if select_on_test else "validation",
                threshold=threshold,
                count=count,
                seed=seed,
                incomplete=incomplete,
            )
        manifest.write(output)
    except (DataError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}")
    console = Console()
    console.print(fold_table(manifest, records))
    console.print(f"{output}: {manifest.fingerprint}", soft_wrap=True, highlight=False)
