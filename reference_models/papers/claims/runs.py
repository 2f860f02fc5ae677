"""One training of one variant on one replicate: its key, its file, and how it is made.

A run's file is small JSON, written whole when the run has ended. Its name carries a hash of everything that decides the
numbers: the recipe with all values, the number of the replicate, and the fingerprint of who is on which side. Its
seconds are those of processors, of all threads together: pauses, and what else a machine does, are not in them.
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
    """A variant on a replicate.

    Attributes:
        variant: What is trained.
        budget: How.
        replicate: Its number, from 0: seed of the persons, of the weights and of the order, and by its remainder the
            fold.
    """

    variant: Variant
    budget: Budget
    replicate: int

    @property
    def title(self) -> str:
        """What people are told that it is."""
        return f"{self.variant.title}, replicate {self.replicate + 1}"

    @property
    def pretrained(self) -> bool:
        """Whether it needs weights that the user has to name."""
        return bool(self.recipe.options.get("weights") == IMAGENET_MOBILENET)

    @property
    def fold(self) -> int:
        """Number of the fold that is tested on, from 1."""
        return self.replicate % FOLDS + 1

    @cached_property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return self.budget.recipe(self.variant)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """Everything that decides its numbers, as plain values; what a recipe has by default is left out.

        So results stay valid when recipes learn to say something new.
        """
        said = asdict(replace(self.recipe, ours=""))
        plain = {name: value for name, value in said.items() if value != _DEFAULTS.get(name, _NONE)}
        recipe: dict[str, Any] = json.loads(json.dumps(plain | {"schedule": repr(self.recipe.schedule)}))
        data = self.population.fingerprint(self.recipe.labels, self.recipe.threshold, self.fold)
        return {"recipe": recipe, "replicate": self.replicate, "data": data}

    @cached_property
    def population(self) -> Population:
        """Whom it is trained, chosen and scored on."""
        return Population.of(
            self.budget.base(self.variant),
            identities=self.budget.identities,
            frames=self.budget.frames,
            seed=self.replicate,
        )

    def path(self, folder: Path) -> Path:
        """Return where its result is kept."""
        text = json.dumps(self.configuration, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return folder / RUNS / f"{self.variant.name}-{self.replicate}-{key}.json"

    def result(self, folder: Path) -> dict[str, Any] | None:
        """Return what its file says; None while there is none.

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

    def make(self, folder: Path, conditions: Mapping[str, Any], *, weights: Path | None, workers: int) -> None:
        """Train, score and write the result.

        Networks whose numbers overflow are a result too: it has the reason and no scores.

        Args:
            folder: The sweep's.
            conditions: What it is made with; written beside the scores.
            weights: File of MobileNetV2's ImageNet weights.
            workers: Processes that render faces, if they are not there yet.

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
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        outcome = _MAKERS.get(recipe.network, _network)(recipe, sides, self.replicate, scratch)
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
    """Keeps what is logged in each epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Note the epoch's training loss and validation scores."""
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


_MAKERS: Mapping[str, Callable[[Recipe, Sides, int, Path], dict[str, Any]]] = {HOG: _hog}
"""What is no network and has no recipe to be trained by."""
