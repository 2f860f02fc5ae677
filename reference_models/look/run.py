"""The work of ``reference-models look``: records the gates of one network on a face."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor, nn

import attnzoo
import reference_models
from attnzoo.files import check_writable
from reference_models.demo.networks import align, plans
from reference_models.faces.images import RGBImage, read_image
from reference_models.faces.landmarks import choose, detect
from reference_models.prediction.predict import aligned
from reference_models.prediction.predictor import read_predictor
from reference_models.preparation.preparation import PREPARATIONS
from reference_models.training.trained import read_model
from reference_models.weights import load_weights, read_weights

NETWORKS = ("cednn", "dba_net", "lla_net", "tra_net")


@dataclass(frozen=True, eq=False)
class _Subject:
    """A network with its inputs, the aligned face, the title of the sheet, and whether it has trained weights."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    face: RGBImage
    title: str
    trained: bool


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
    """Detect the face, run one network on it, write the sheet and print the statistics.

    Args:
        image: Path of a photograph with a face.
        model: One of :data:`NETWORKS`, or the path of a model that ``train`` has written.
        output: Path of the PNG to write.
        page: Path of an HTML page to write too; None writes none.
        neutral: Path of a photograph of the same person's neutral face, for difference maps; None runs an untrained
            CEDNN without maps.
        weights: Path of weights for a network by name; None uses random weights.
        console: Console for results.
        progress: Console for progress.

    Raises:
        FileNotFoundError: If there is no such model, or no such weights.
        ImageError: If a photograph cannot be read.
        MissingExtraError: If an extra is not installed.
        NoFaceError: If a photograph shows no face.
        OutputError: If ``output`` or ``page`` cannot be written; this is checked first.
        ValueError: If ``model`` is unknown, the weights do not fit, or ``neutral`` is missing or not used by the model.
    """
    by_file = model.endswith(".safetensors") or Path(model).is_dir()
    model = model if by_file else model.replace("-", "_")
    _check(model, by_file, neutral, weights)
    check_writable(output, ".png")
    if page is not None:
        check_writable(page, ".html")
    with progress.status("Finding the face") as status:
        subject = _trained(image, Path(model), neutral) if by_file else _by_name(image, model, neutral, weights)
        status.update(f"Running {model}")
        with torch.inference_mode(), warnings.catch_warnings(), attnzoo.record(subject.network) as r:
            warnings.simplefilter("ignore", RuntimeWarning)  # the table shows the same alerts
            subject.network(*subject.inputs)
        status.update("Drawing the sheet")
        r.sheet(output, subject.face, title=subject.title)
        if page is not None:
            r.page(page, subject.face, title=subject.title)
    console.print(r.table())
    for alert in r.alerts():
        console.print(f"[red]{escape(alert)}[/red]")
    if not subject.trained:
        console.print("The weights are random: the gates are real, and say nothing about the face.")
    console.print(f"Sheet: [bold]{escape(str(output))}[/bold]")
    if page is not None:
        console.print(f"Page: [bold]{escape(str(page))}[/bold]")


def _check(model: str, by_file: bool, neutral: Path | None, weights: Path | None) -> None:
    """Check that the model is known and that ``neutral`` and ``weights`` apply to it."""
    if by_file:
        if weights is not None:
            raise ValueError("--weights must be left out: the model has its own")
        return
    if model not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise ValueError(f"--model must be one of {known}, or a model that 'train' has written, got {model!r}")
    if neutral is not None and model != "cednn":
        raise ValueError(f"--neutral is for cednn, whose difference maps it gives, got --model {model}")


def _by_name(image: Path, model: str, neutral: Path | None, weights: Path | None) -> _Subject:
    photograph = read_image(image)
    frames = align(photograph, choose(detect(photograph), name=str(image)))
    levels = None
    if neutral is not None:
        preparation = PREPARATIONS["cednn"]
        levels = preparation.levels(aligned(neutral, preparation), frames.cednn)
    (plan,) = (each for each in plans(frames, levels) if each.name == model)
    torch.manual_seed(0)
    network = reference_models.create(plan.name, **plan.options).eval()
    if weights is not None:
        load_weights(network, read_weights(weights))
    face = getattr(frames, model).image
    return _Subject(network, plan.inputs, face, f"{plan.network} on {image.name}", weights is not None)


def _trained(image: Path, model: Path, neutral: Path | None) -> _Subject:
    """Return a trained model with the first of its test-time views of the face."""
    predictor = read_predictor(model)
    preparation = predictor.preparation
    if (neutral is None) == preparation.difference:
        what = "given: the network takes" if preparation.difference else "left out: the network takes no"
        raise ValueError(f"--neutral must be {what} difference maps")
    face = aligned(image, preparation)
    levels = None if neutral is None else preparation.levels(aligned(neutral, preparation), face)
    inputs = tuple(x[:1] for x in predictor.arguments(face.image, levels))
    name = read_model(model).recipe.name
    return _Subject(predictor.network, inputs, face.image, f"{name} ({model}) on {image.name}", True)
