"""``reference-models look``: what the gates of one network say to a face."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

import attnzoo
import reference_models
from attnzoo.files import check_writable
from reference_models import checks
from reference_models.demo.networks import align, plans
from reference_models.faces.alignment import align_chip
from reference_models.faces.difference import difference
from reference_models.faces.images import read_image
from reference_models.faces.landmarks import choose, detect
from reference_models.weights import load_weights, read_weights

NETWORKS = ("cednn", "dba_net", "lla_net", "tra_net")


def run(
    image: Path,
    model: str,
    output: Path,
    *,
    page: Path | None = None,
    neutral: Path | None = None,
    weights: Path | None = None,
    console: Console,
    progress: Console,
) -> None:
    """Find the face, run one network on it as the demonstration does, write the sheet and print the statistics.

    Args:
        image: A photograph with a face.
        model: One of :data:`NETWORKS`.
        output: The PNG to write.
        page: A page to write too; None writes none.
        neutral: The same face at rest, for CEDNN's difference maps; None runs it without.
        weights: The network's weights; None leaves it untrained.
        console: Where the results go.
        progress: Where the progress is shown.

    Raises:
        FileNotFoundError: If there are no such weights.
        ImageError: If a photograph cannot be read.
        MissingExtraError: If an extra is not installed.
        NoFaceError: If a photograph shows no face.
        OutputError: If ``output`` or ``page`` cannot be written; that is checked first.
        ValueError: If ``model`` is unknown, the weights do not fit, or ``neutral`` is given for another network.
    """
    checks.one_of("--model", model, NETWORKS)
    if neutral is not None and model != "cednn":
        raise ValueError(f"--neutral is for cednn, whose difference maps it gives, got --model {model}")
    check_writable(output, ".png")
    if page is not None:
        check_writable(page, ".html")
    with progress.status("Finding the face") as status:
        photograph = read_image(image)
        frames = align(photograph, choose(detect(photograph), name=str(image)))
        levels = None
        if neutral is not None:
            rest = read_image(neutral)
            at_rest = align_chip(rest, choose(detect(rest), name=str(neutral)).points, size=224)
            levels = difference(at_rest, frames.cednn).levels
        status.update(f"Running {model}")
        (plan,) = (each for each in plans(frames, levels) if each.name == model)
        torch.manual_seed(0)
        network = reference_models.create(plan.name, **plan.options).eval()
        if weights is not None:
            load_weights(network, read_weights(weights))
        with torch.inference_mode(), warnings.catch_warnings(), attnzoo.record(network) as r:
            warnings.simplefilter("ignore", RuntimeWarning)  # the table shows it
            network(*plan.inputs)
        status.update("Drawing the sheet")
        face, title = getattr(frames, model).image, f"{plan.network} on {image.name}"
        r.sheet(output, face, title=title)
        if page is not None:
            r.page(page, face, title=title)
    console.print(r.table())
    for alert in r.alerts():
        console.print(f"[red]{escape(alert)}[/red]")
    if weights is None:
        console.print("The weights are random: the gates are real, and say nothing about the face.")
    console.print(f"Sheet: [bold]{escape(str(output))}[/bold]")
    if page is not None:
        console.print(f"Page: [bold]{escape(str(page))}[/bold]")
