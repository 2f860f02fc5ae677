"""What a run was and what it made: the record beside its files, and the model with all that is needed to use it."""

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
"""Formats that do not say how their faces were cropped, nor whom they were trained on."""
RUN, MODEL, BEST, LAST = "run.json", "model.safetensors", "best.safetensors", "last.safetensors"
DESCRIPTION = "model"
"""Key of a training state under which it describes its network."""
_NETWORK = "network."


@dataclass(frozen=True)
class RunRecord:
    """What decides the numbers of a run, and on whom it was made.

    Attributes:
        recipe: The recipe as plain values.
        data: Hash of the manifest.
        seed: The run's.
        versions: Of what computed it.
        precision: In what the network computes.
        source: Where the faces came from, as :meth:`reference_models.training.sources.Source.plain` says it.
        persons: Hashes of the persons on each side.
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
        """Return it as JSON holds it, without the persons."""
        said: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, persons={}))))
        del said["persons"]
        return said

    def check(self, folder: Path) -> bool:
        """Return whether the folder holds this run; False if it holds none.

        Raises:
            OSError: If the record there cannot be read.
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
        """Write the record into the folder of the run, or find the same one there.

        Raises:
            OSError: If the record there cannot be read, or none can be written.
            ValueError: If the folder holds another run, or a damaged record; the message says what differs.
        """
        if not self.check(folder):
            write_atomically(folder / RUN, (json.dumps(self.plain(), indent=1) + "\n").encode())


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network with all that is needed to use it.

    Attributes:
        network: In evaluation.
        recipe: What it was made by.
        preparation: What it sees of a face.
        calibration: How the outputs of action units become presence and levels; None of a model of expressions.
        record: Of its run.
    """

    network: nn.Module
    recipe: Recipe
    preparation: Preparation
    calibration: Calibration | None
    record: RunRecord


def description(
    record: RunRecord, *, calibration: Calibration | None = None, scores: Mapping[str, float] | None = None
) -> dict[str, str]:
    """Return what a file says of its network, beside the weights."""
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
    """Write a network's weights with all that is needed to build it, to crop its faces and to read its outputs."""
    save_weights(network, path, description(record, calibration=calibration, scores=scores))


def read_model(path: str | Path) -> Trained:
    """Read a trained network.

    Args:
        path: A ``model.safetensors``; a training state, ``best.safetensors`` or ``last.safetensors``; or the folder of
            a run, which stands for its model, or for its best state while it has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or none that training wrote.
    """
    path = model_file(path)
    weights, said = _content(path)
    try:
        run = json.loads(said["run"])
        persons = {side: tuple(map(str, hashes)) for side, hashes in json.loads(said["persons"]).items()}
        record = RunRecord(**run, persons=persons)
        recipe = _recipe(record.recipe)
        preparation = Preparation.from_plain(json.loads(said["preparation"]))
        calibrated = json.loads(said["calibration"])
        calibration = None if calibrated is None else Calibration.from_plain(calibrated)
        with torch.device("meta"):
            fits = build(recipe)  # takes no memory, whatever sizes the record names
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its record says {error}") from error
    check_weights(fits, weights)
    network = build(recipe)
    load_weights(network, weights)
    return Trained(network.eval(), recipe, preparation, calibration, record)


def model_file(path: str | Path) -> Path:
    """Return the file that a path stands for: itself, or in the folder of a run its model, or else its best state.

    Raises:
        FileNotFoundError: If there is no such file, or the folder holds none.
    """
    path = Path(path)
    if path.is_dir():
        there = next((path / name for name in (MODEL, BEST) if (path / name).is_file()), None)
        if there is None:
            raise FileNotFoundError(f"{path} holds neither {MODEL} nor {BEST}")
        return there
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}")
    return path


def _content(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the weights of a model or of a training state, and what it says of them."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            said: dict[str, str] = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if said.get("format") == FORMAT:
        return read_weights(path), said
    if said.get("format") in _OLDER:
        raise ValueError(f"{path} is of an older version, which did not say how its faces were cropped: train anew")
    if said.get("format") != STATE:
        raise ValueError(f"{path} is no model that reference-models trained")
    state = read_state(path)
    weights, described = state.get("state_dict"), state.get(DESCRIPTION)
    if not isinstance(weights, dict) or not isinstance(described, dict):
        raise ValueError(f"{path} is damaged: it does not describe its network")
    return {k.removeprefix(_NETWORK): v for k, v in weights.items() if str(k).startswith(_NETWORK)}, described


def _recipe(plain: dict[str, Any]) -> Recipe:
    """Return the recipe that was written down; its schedule, unused after training, is that of the known recipe."""
    labels = Labels(plain["labels"]["task"], tuple(plain["labels"]["names"]))
    known = RECIPES[plain["name"]]
    return Recipe(**{**plain, "labels": labels, "schedule": known.schedule})
