"""What a run was and what it made: the record beside its files, and the model with its labels."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

import attnzoo
from attnzoo.files import write_atomically
from reference_models.data.labels import Labels
from reference_models.label_order import KEY as LABELS
from reference_models.training.calibration import Calibration
from reference_models.training.networks import build
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.weights import check_weights, load_weights, read_weights, save_weights

FORMAT = "reference-models model 1"
RUN = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """What decides the numbers of a run.

    Attributes:
        recipe: The recipe as plain values.
        data: Hash of the manifest.
        seed: The run's.
        versions: Of what computed it.
    """

    recipe: dict[str, Any]
    data: str
    seed: int
    versions: dict[str, str]

    @classmethod
    def of(cls, recipe: Recipe, data: str, seed: int) -> RunRecord:
        """Return the record of a run on this machine."""
        versions = {"attnzoo": attnzoo.__version__, "torch": torch.__version__, "python": platform.python_version()}
        plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
        return cls(plain, data, seed, versions)

    def claim(self, folder: Path) -> None:
        """Write the record into the folder of the run, or find the same one there.

        Raises:
            OSError: If the record there cannot be read, or none can be written.
            ValueError: If the folder holds another run, or a damaged record; the message says what differs.
        """
        path = folder / RUN
        mine = json.loads(json.dumps(asdict(self)))
        if path.exists():
            try:
                theirs = json.loads(path.read_bytes())
                recipe = theirs["recipe"]
                differing = [name for name in ("data", "seed") if theirs[name] != mine[name]]
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{path} is no record of a run, or damaged: {error}") from error
            if not isinstance(recipe, dict):
                raise ValueError(f"{path} is no record of a run, or damaged: its recipe is {recipe!r}")
            differing += [name for name in mine["recipe"] if recipe.get(name) != mine["recipe"][name]]
            if differing:
                raise ValueError(
                    f"{folder} holds another run, with other {', '.join(differing)}: choose another folder"
                )
            return
        write_atomically(path, (json.dumps(mine, indent=1) + "\n").encode())


def write_model(
    network: nn.Module,
    record: RunRecord,
    scores: dict[str, float],
    path: Path,
    *,
    calibration: Calibration | None = None,
) -> None:
    """Write a network's weights with all that is needed to build it again and to read its outputs."""
    metadata = {
        "format": FORMAT,
        LABELS: json.dumps(record.recipe["labels"]),
        "run": json.dumps(asdict(record)),
        "scores": json.dumps(scores),
        "calibration": json.dumps(calibration and calibration.plain()),
    }
    save_weights(network, path, metadata)


def read_model(path: Path) -> tuple[nn.Module, Recipe]:
    """Return the network, in evaluation, and the recipe that it was made by.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or none that :func:`write_model` wrote.
    """
    weights, metadata = read_weights(path), _metadata(path)
    try:
        recipe = _recipe(json.loads(metadata["run"])["recipe"])
        with torch.device("meta"):
            fits = build(recipe)  # takes no memory, whatever sizes the record names
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its record says {error}") from error
    check_weights(fits, weights)
    network = build(recipe)
    load_weights(network, weights)
    return network.eval(), recipe


def read_calibration(path: Path) -> Calibration | None:
    """Return how a model's outputs become presence and levels; None of a model of expressions.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or none that :func:`write_model` wrote.
    """
    try:
        plain = json.loads(_metadata(path).get("calibration", "null"))
        return None if plain is None else Calibration.from_plain(plain)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: its calibration says {error}") from error


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no model that reference-models trained")
    return metadata


def _recipe(plain: dict[str, Any]) -> Recipe:
    """Return the recipe that was written down, with the schedule of the recipe of that name: it says nothing now."""
    labels = Labels(plain["labels"]["task"], tuple(plain["labels"]["names"]))
    known = RECIPES[plain["name"]]
    return Recipe(**{**plain, "labels": labels, "schedule": known.schedule})
