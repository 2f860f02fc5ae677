"""``reference-models claims``: the papers' claims, tested on synthetic faces."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from reference_models.cli.console import fail
from reference_models.cli.options import Json

Budget = Annotated[
    str, typer.Option(help="smoke (a minute per claim), small (two hours on two cores) or full (needs a GPU).")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Claims to test: a paper (tra-net, cednn, dba-net, lla-net), a name or a pattern (cednn/beats-*); may "
        "be repeated. By default all claims and further baselines.",
        show_default=False,
    ),
]
SweepFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder of the sweep.")]
Processes = Annotated[int, typer.Option(min=1, help="Number of processes that train at the same time.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="MobileNetV2's ImageNet weights, mobilenet_v2-b0353104.pth, for the pretrained baselines.",
        show_default=False,
    ),
]
Collect = Annotated[bool, typer.Option("--collect", help="Only make the table of the finished runs; train nothing.")]


def claims_command(
    *,
    budget: Budget = "small",
    only: Only = None,
    output: SweepFolder = Path("claims"),
    processes: Processes = 1,
    weights: Weights = None,
    collect: Collect = False,
    json_path: Json = None,
) -> None:
    """Test the papers' claims on synthetic faces.

    Trains both networks of each claim several times, on the same synthetic persons, from the same seed and in the same
    order, and decides by one rule whether each claim holds, does not hold, or is undecided.

    The same command resumes an interrupted sweep; several commands may work on one folder. The first replicate of all
    networks comes first, so that --collect can make the table at any time: claims-BUDGET.json and .md in the folder.

    Examples:

    reference-models claims --budget small --processes 2 -o claims

    reference-models claims --only tra-net --only cednn/maps -o claims

    reference-models claims --collect -o claims --json claims-small.json
    """  # noqa: D412 - typer keeps only paragraphs apart
    from reference_models.checks import one_of
    from reference_models.extras import MissingExtraError, require

    try:
        require("train", "synth", "faces")
        from reference_models.papers.claims.budget import BUDGETS
        from reference_models.papers.claims.conditions import report_metadata
        from reference_models.papers.claims.registry import chosen
        from reference_models.papers.claims.report import collected, record
        from reference_models.papers.claims.sweep import left_out, runs_for

        one_of("budget", budget, BUDGETS)
        if weights is not None and not weights.is_file():
            raise ValueError(f"--weights must name a file, got {weights}")
        if json_path is not None and not json_path.parent.is_dir():
            raise ValueError(f"--json must name a file in an existing directory, got {json_path}")
        claims = chosen(only or [])
        runs = runs_for(claims, BUDGETS[budget], baselines=not only)
        if not collect:
            _train(runs, output, weights, processes)
        results = collected(runs, output)
        report = record(
            claims, results, BUDGETS[budget], report_metadata(_command(budget, only or [])), left_out(runs, results)
        )
        _write(report, output, json_path)
    except (MissingExtraError, ValueError, TypeError, RuntimeError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write to {output}: {error.strerror or error}; finished runs are kept")
    _show(report)


def _train(runs: Any, output: Path, weights: Path | None, processes: int) -> None:
    """Execute all unfinished runs; runs that need pretrained weights only if ``weights`` is given."""
    from reference_models import interrupts
    from reference_models.papers.claims.conditions import run_conditions
    from reference_models.papers.claims.sweep import Work, sweep, threads_for

    threads = threads_for(processes)
    work = Work(
        runs=[run for run in runs if weights is not None or not run.pretrained],
        folder=output.resolve(),
        conditions=run_conditions(threads),
        weights=None if weights is None else weights.resolve(),
        threads=threads,
    )
    with interrupts.keeping("finished runs are kept, and the same command resumes"):
        _sweep_with_progress(work, sweep, processes)


def _command(budget: str, only: list[str]) -> str:
    """Return the command line that reproduces the report."""
    return shlex.join(
        ["reference-models", "claims", "--budget", budget, *(part for o in only for part in ("--only", o))]
    )


def _sweep_with_progress(work: Any, sweep: Any, processes: int) -> None:
    """Execute the runs under a progress bar, with a line for each current run."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=3600) as progress:
        done = sum(run.result(work.folder) is not None for run in work.runs)
        bar = progress.add_task("all runs", total=len(work.runs), completed=done)
        current: dict[str, Any] = {}

        def on_event(event: str, title: str) -> None:
            if event == "began":
                current[title] = progress.add_task(f"  {title}", total=None)
            elif title in current:
                progress.remove_task(current.pop(title))
                progress.update(bar, completed=sum(run.result(work.folder) is not None for run in work.runs))
                if event == "ended" and not console.is_terminal:
                    console.print(f"{title}: done")

        sweep(work, processes=processes, on_event=on_event)
        progress.update(bar, completed=len(work.runs))


def _write(report: Any, output: Path, json_path: Path | None) -> None:
    import json

    from attnzoo.files import write_atomically
    from reference_models.papers.claims.tables import as_markdown

    output.mkdir(parents=True, exist_ok=True)
    text = (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
    name = f"claims-{report['budget']['name']}"
    for path in (output / f"{name}.json", *([] if json_path is None else [json_path])):
        write_atomically(path, text)
    write_atomically(output / f"{name}.md", as_markdown(report).encode())


def _show(report: Any) -> None:
    from reference_models.papers.claims.tables import CLAIMS_HEADER, SCORES_HEADER, claim_cells, counted, score_cells

    console = Console()
    colours = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
    claims = Table(*CLAIMS_HEADER, box=box.SIMPLE_HEAD)
    for row in report["rows"]:
        claims.add_row(*claim_cells(row), style=colours[row["verdict"]] if row["verdict"] != "undecided" else None)
    scores = Table(*SCORES_HEADER, box=box.SIMPLE_HEAD)
    for row in report["scores"]:
        scores.add_row(*score_cells(row))
    console.print(claims)
    console.print(scores)
    for name, reason in report["left out"].items():
        console.print(f"left out: {name}: {reason}", highlight=False)
    console.print(counted(report["rows"]), highlight=False)
