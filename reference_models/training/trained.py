"""The files of a run: its record ``run.json``, and the model file with everything needed to use the network."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

import attnzoo
from attnzoo.files import write_atomically
from reference_models.data.labels import Labels
from reference_models.label_order import KEY as LABELS
from reference_models.preparation.preparation import Preparation
from reference_models.training.calibration import Calibration
from reference_models.training.networks import build
from reference_models.training.persons import Persons
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.states import FORMAT as STATE
from reference_models.training.states import read_state
from reference_models.weights import check_weights, load_weights, read_weights, save_weights

FORMAT = "reference-models model 2"
_OLDER = ("reference-models model 1",)
"""Older formats, which did not store the preparation of faces and the persons trained on."""
RUN, MODEL, BEST, LAST = "run.json", "model.safetensors", "best.safetensors", "last.safetensors"
DESCRIPTION = "model"
"""Key of the network's description in a training state."""
_NETWORK = "network."


@dataclass(frozen=True)
class RunRecord:
    """Everything that determines the results of a run, and the persons of its sides.

    Attributes:
        recipe: The recipe as plain values.
        data: Fingerprint of the division into sides, see :attr:`.sides.Sides.fingerprint`.
        seed: Seed of the run.
        versions: Versions of attnzoo, torch and Python.
        precision: Floating-point precision of training, by Lightning's name.
        source: Origin of the faces, from :meth:`reference_models.training.sources.Source.plain`.
        persons: Name of each side to the hashes of its persons.
    """

    recipe: dict[str, Any]
    data: str
    seed: int
    versions: dict[str, str]
    precision: str = "32-true"
    source: dict[str, Any] = field(default_factory=dict)
    persons: Persons = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        data: str,
        seed: int,
        *,
        precision: str = "32-true",
        source: Mapping[str, Any] | None = None,
        persons: Persons | None = None,
    ) -> RunRecord:
        """Return the record of a run on this machine."""
        versions = {"attnzoo": attnzoo.__version__, "torch": torch.__version__, "python": platform.python_version()}
        plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
        return cls(plain, data, seed, versions, precision, dict(source or {}), dict(persons or {}))

    def plain(self) -> dict[str, Any]:
        """Return the record as plain values for JSON, without the persons."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, persons={}))))
        del values["persons"]
        return values

    def check(self, folder: Path) -> bool:
        """Return True if the folder holds this run, False if it holds no run.

        Raises:
            OSError: If the folder's record cannot be read.
            ValueError: If the folder holds another run, or a damaged record; the message says what differs.
        """
        path = folder / RUN
        if not path.exists():
            return False
        mine = self.plain()
        try:
            theirs = json.loads(path.read_bytes())
            recipe = theirs["recipe"]
            differing = [name for name in ("data", "seed") if theirs[name] != mine[name]]
            differing += [] if theirs.get("precision", "32-true") == mine["precision"] else ["precision"]
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no record of a run, or damaged: {error}") from error
        if not isinstance(recipe, dict):
            raise ValueError(f"{path} is no record of a run, or damaged: its recipe is {recipe!r}")
        differing += [name for name in mine["recipe"] if recipe.get(name) != mine["recipe"][name]]
        if differing:
            raise ValueError(f"{folder} holds another run, with other {', '.join(differing)}: choose another folder")
        return True

    def claim(self, folder: Path) -> None:
        """Write the record into the folder, unless the folder already holds this run.

        Raises:
            OSError: If the folder's record cannot be read or written.
            ValueError: If the folder holds another run, or a damaged record; the message says what differs.
        """
        if not self.check(folder):
            write_atomically(folder / RUN, (json.dumps(self.plain(), indent=1) + "\n").encode())


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network with everything needed to use it.

    Attributes:
        network: The network, in evaluation mode.
        recipe: Its recipe.
        preparation: Alignment and difference maps of its faces.
        calibration: Turns the outputs of action units into presence and levels; None for expressions.
        record: Record of its run.
    """

    network: nn.Module
    recipe: Recipe
    preparation: Preparation
    calibration: Calibration | None
    record: RunRecord


def description(
    record: RunRecord, *, calibration: Calibration | None = None, scores: Mapping[str, float] | None = None
) -> dict[str, str]:
    """Return the metadata of a model file: format, labels, record, persons, preparation, scores and calibration."""
    recipe = _recipe(record.recipe)
    return {
        "format": FORMAT,
        LABELS: json.dumps(record.recipe["labels"]),
        "run": json.dumps(record.plain()),
        "persons": json.dumps({side: sorted(hashes) for side, hashes in record.persons.items()}),
        "preparation": json.dumps(recipe.faces.plain()),
        "scores": json.dumps(scores or {}),
        "calibration": json.dumps(calibration and calibration.plain()),
    }


def write_model(
    network: nn.Module,
    record: RunRecord,
    scores: Mapping[str, float],
    path: Path,
    *,
    calibration: Calibration | None = None,
) -> None:
    """Write a model file: the weights, and in the metadata the description of network, faces and outputs."""
    save_weights(network, path, description(record, calibration=calibration, scores=scores))


def read_model(path: str | Path) -> Trained:
    """Read a trained network.

    Args:
        path: A ``model.safetensors``; a training state, ``best.safetensors`` or ``last.safetensors``; or the folder of
            a run, for its model, or its best state while there is no model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or was not written by training.
    """
    path = model_file(path)
    weights, metadata = _content(path)
    try:
        run = json.loads(metadata["run"])
        persons = {side: tuple(map(str, hashes)) for side, hashes in json.loads(metadata["persons"]).items()}
        record = RunRecord(**run, persons=persons)
        recipe = _recipe(record.recipe)
        preparation = Preparation.from_plain(json.loads(metadata["preparation"]))
        calibrated = json.loads(metadata["calibration"])
        calibration = None if calibrated is None else Calibration.from_plain(calibrated)
        with torch.device("meta"):
            skeleton = build(recipe)  # on the meta device a damaged record with huge sizes needs no memory
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its record says {error}") from error
    check_weights(skeleton, weights)
    network = build(recipe)
    load_weights(network, weights)
    return Trained(network.eval(), recipe, preparation, calibration, record)


def model_file(path: str | Path) -> Path:
    """Return ``path`` if it is a file; for the folder of a run its model, or else its best state.

    Raises:
        FileNotFoundError: If there is no such file, or the folder holds neither.
    """
    path = Path(path)
    if path.is_dir():
        file = next((path / name for name in (MODEL, BEST) if (path / name).is_file()), None)
        if file is None:
            raise FileNotFoundError(f"{path} holds neither {MODEL} nor {BEST}")
        return file
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}")
    return path


def _content(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the weights of a model file or training state, and its description, see :func:`description`."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if metadata.get("format") == FORMAT:
        return read_weights(path), metadata
    if metadata.get("format") in _OLDER:
        raise ValueError(f"{path} is of an older version, which did not say how its faces were cropped: train anew")
    if metadata.get("format") != STATE:
        raise ValueError(f"{path} is no model that reference-models trained")
    state = read_state(path)
    weights, network_description = state.get("state_dict"), state.get(DESCRIPTION)
    if not isinstance(weights, dict) or not isinstance(network_description, dict):
        raise ValueError(f"{path} is damaged: it does not describe its network")
    return {k.removeprefix(_NETWORK): v for k, v in weights.items() if str(k).startswith(_NETWORK)}, network_description


def _recipe(plain: dict[str, Any]) -> Recipe:
    """Return the stored recipe; its schedule, unused after training, is that of the recipe of the same name."""
    labels = Labels(plain["labels"]["task"], tuple(plain["labels"]["names"]))
    known = RECIPES[plain["name"]]
    return Recipe(**{**plain, "labels": labels, "schedule": known.schedule})
