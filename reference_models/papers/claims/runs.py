"""One run of a sweep: the training of one variant on one replicate, and the JSON file of its result.

The file is written atomically when the run has ended. Its name contains a hash of everything that determines the
numbers: the recipe with all values, the number of the replicate, and the fingerprint of the division into sides. The
field ``seconds`` is processor time summed over all threads, so pauses and other load on the machine do not count.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from attnzoo.files import write_atomically
from reference_models.papers.claims.budget import Budget
from reference_models.papers.claims.claim import Variant
from reference_models.papers.claims.faces import Population
from reference_models.papers.claims.hog import HOG, hog_scores
from reference_models.papers.claims.variants import IMAGENET_MOBILENET
from reference_models.training.fit import fit
from reference_models.training.metrics import NotFiniteError
from reference_models.training.recipes import Recipe
from reference_models.training.sides import Sides, make_sides

FORMAT = "reference-models claim run 2"
FOLDS = 3
RUNS, FACES, SCRATCH = "runs", "faces", "scratch"
_NONE = object()
_DEFAULTS = {each.name: each.default for each in fields(Recipe) if each.default is not MISSING}


@dataclass(frozen=True)
class Run:
    """The training of one variant on one replicate.

    Attributes:
        variant: The network to train.
        budget: Sizes and number of epochs.
        replicate: Number of the replicate, from 0: the seed of the persons, the weights and the order of pictures. Its
            remainder by the number of folds chooses the fold.
    """

    variant: Variant
    budget: Budget
    replicate: int

    @property
    def title(self) -> str:
        """Description for people."""
        return f"{self.variant.title}, replicate {self.replicate + 1}"

    @property
    def pretrained(self) -> bool:
        """Whether it needs a file of ImageNet weights from the user."""
        return bool(self.recipe.options.get("weights") == IMAGENET_MOBILENET)

    @property
    def fold(self) -> int:
        """Number of the fold, from 1."""
        return self.replicate % FOLDS + 1

    @cached_property
    def recipe(self) -> Recipe:
        """The variant's recipe in this budget."""
        return self.budget.recipe(self.variant)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """Everything that determines the result, as plain values.

        Fields of the recipe with their default value are left out, so that results stay valid when recipes get a new
        field.
        """
        values = asdict(replace(self.recipe, ours=""))
        plain = {name: value for name, value in values.items() if value != _DEFAULTS.get(name, _NONE)}
        recipe: dict[str, Any] = json.loads(json.dumps(plain | {"schedule": repr(self.recipe.schedule)}))
        data = self.population.fingerprint(self.recipe.labels, self.recipe.threshold, self.fold)
        return {"recipe": recipe, "replicate": self.replicate, "data": data}

    @cached_property
    def population(self) -> Population:
        """The persons of all three sides."""
        return Population.of(
            self.budget.base(self.variant),
            identities=self.budget.identities,
            frames=self.budget.frames,
            seed=self.replicate,
        )

    def path(self, folder: Path) -> Path:
        """Return the path of the result's file."""
        text = json.dumps(self.configuration, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return folder / RUNS / f"{self.variant.name}-{self.replicate}-{key}.json"

    def result(self, folder: Path) -> dict[str, Any] | None:
        """Return the stored result; None if the run has not ended yet.

        Raises:
            ValueError: If the file is damaged.
        """
        path = self.path(folder)
        if not path.exists():
            return None
        try:
            result: dict[str, Any] = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is damaged: {error}; remove it, and its run is made again") from error
        if result.get("format") != FORMAT or result.get("configuration") != self.configuration:
            raise ValueError(f"{path} is no result of {self.title}; remove it, and its run is made again")
        return result

    def execute(self, folder: Path, conditions: Mapping[str, Any], *, weights: Path | None, workers: int) -> None:
        """Train, score and write the result.

        If the network's outputs overflow, the result holds the error message and no scores.

        Args:
            folder: Folder of the sweep.
            conditions: Commit, versions and machine, stored with the scores.
            weights: File of MobileNetV2's ImageNet weights; None if this run needs none.
            workers: Number of processes that render faces which are not stored yet; 0 renders in this process.

        Raises:
            OSError: If the folder cannot be written.
        """
        faces = self.population.faces(folder / FACES, workers=workers)
        recipe = self.recipe
        if self.pretrained:
            recipe = recipe.changed(options={"weights": str(weights)})
        sides = make_sides("synthetic", faces.records, faces, recipe, fold=self.fold)
        began = time.process_time()
        scratch = folder / SCRATCH / self.path(folder).stem
        shutil.rmtree(scratch, ignore_errors=True)  # left by a run that was killed
        outcome = _BASELINES.get(recipe.network, _network)(recipe, sides, self.replicate, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        result = {
            "format": FORMAT,
            "variant": self.variant.name,
            "replicate": self.replicate,
            "configuration": self.configuration,
            "pixels": hashlib.sha256(faces.images.tobytes() + faces.bits.tobytes()).hexdigest(),
            "seconds": round(time.process_time() - began, 1),
            "conditions": dict(conditions),
            **outcome,
        }
        path = self.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(result, indent=1) + "\n").encode())


class Curve(Callback):
    """Keeps the logged values of every epoch.

    Attributes:
        epochs: Name to value, one dictionary per epoch.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Store the epoch's training loss and validation scores."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({n: value for n, value in logged.items() if n.count("/") == 1 and math.isfinite(value)})


def _network(recipe: Recipe, sides: Sides, seed: int, scratch: Path) -> dict[str, Any]:
    curve = Curve()
    try:
        scores = fit(recipe, sides, scratch, seed=seed, progress=False, logs=False, watchers=(curve,))
    except NotFiniteError as error:
        return {"failed": str(error), "scores": {}, "curve": curve.epochs}
    scores = {name.removeprefix("test/"): value for name, value in scores.items() if math.isfinite(value)}
    scores["train/loss"] = fmean(epoch["train/loss"] for epoch in curve.epochs)
    return {"scores": scores, "curve": curve.epochs}


def _hog(recipe: Recipe, sides: Sides, seed: int, scratch: Path) -> dict[str, Any]:  # noqa: ARG001 - needs neither
    return {"scores": hog_scores(recipe, sides)}


_BASELINES: Mapping[str, Callable[[Recipe, Sides, int, Path], dict[str, Any]]] = {HOG: _hog}
"""Values of a recipe's ``network`` that are not networks, to the functions that compute their scores."""
