"""What each paper says of its training, one frozen recipe each, every printed figure in it.

Where a paper prints nothing, the value here is this package's and is named in the recipe's ``ours``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from attnzoo import DIFFERENCE_THRESHOLDS
from reference_models import checks
from reference_models.choices import Network
from reference_models.data.labels import EXPRESSIONS, Labels
from reference_models.networks.cednn import CK_PLUS_AUS, DISFA_PLUS_AUS
from reference_models.preparation.preparation import PREPARATIONS, Preparation
from reference_models.training.schedules import Constant, ExponentialAfter, Poly, Schedule, Step

Sampling = Literal["shuffled", "au-weighted"]
Precision = Literal["32-true", "bf16-mixed"]
"""In what a network computes, as Lightning names it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one network is trained.

    Attributes:
        name: Key of the recipe.
        network: Name for :func:`reference_models.create`, or ``torchvision/<name>``.
        options: Its keyword arguments, beside what follows from labels and image size.
        attach: Arguments of :func:`attnzoo.attach` for an attention that the network gets; None for none.
        labels: What the outputs stand for, in order.
        threshold: Level from which an action unit counts as present; None for expressions.
        image_size: Side of the square picture in pixels.
        maps: Whether the network takes difference maps.
        map_thresholds: Their grey levels.
        channels_last: Whether pictures are given to the network pixel by pixel, which may be faster and is the same.
        preparation: The network whose alignment the faces have, see :attr:`faces`.
        augmentation: Name of the paper's augmentation, see ``reference_models.data.augmentation``.
        sampling: ``shuffled``: every picture once an epoch; ``au-weighted``: drawn by the weights of their units.
        batch_size: Pictures a step, over all processes together.
        batches: Steps an epoch; None for as many as there are pictures.
        epochs: Longest run.
        optimizer: ``sgd`` as in the papers, or ``adamw``.
        learning_rate: At the start.
        momentum: Of the stochastic gradient descent; AdamW has its own.
        weight_decay: L2 penalty; of AdamW the decoupled one.
        schedule: How the learning rate falls.
        loss: ``mean``: over all labels; ``branches``: summed over the network's branches, each the mean of its labels.
        learned: Probability wanted of an action unit: ``presence``, 1 from the threshold on as in the papers;
            ``level``, a fifth of the level, so that a logit says how strong a unit is.
        patience: Stop after this many epochs without a better validation score; None to run all epochs.
        monitor: Score by which the best epoch is kept.
        ours: What the paper does not print and was chosen here.
    """

    name: str
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    attach: Mapping[str, Any] | None = None
    labels: Labels
    threshold: int | None = None
    image_size: int
    maps: bool = False
    map_thresholds: tuple[float, ...] = DIFFERENCE_THRESHOLDS
    channels_last: bool = False
    preparation: Network
    augmentation: str
    sampling: Sampling = "shuffled"
    batch_size: int
    batches: int | None = None
    epochs: int
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float
    schedule: Schedule
    loss: Literal["mean", "branches"] = "mean"
    learned: Literal["presence", "level"] = "presence"
    patience: int | None = None
    monitor: str
    ours: str = ""

    def __post_init__(self) -> None:
        for name in ("image_size", "batch_size", "epochs"):
            checks.positive_int(name, getattr(self, name))
        for name in ("batches", "patience"):
            if getattr(self, name) is not None:
                checks.positive_int(name, getattr(self, name))
        checks.one_of("sampling", self.sampling, ("shuffled", "au-weighted"))
        checks.one_of("loss", self.loss, ("mean", "branches"))
        checks.one_of("optimizer", self.optimizer, ("sgd", "adamw"))
        checks.one_of("learned", self.learned, ("presence", "level"))
        object.__setattr__(self, "map_thresholds", tuple(self.map_thresholds))  # JSON has lists
        for name, positive in (("learning_rate", True), ("momentum", False), ("weight_decay", False)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (positive and value == 0):
                raise ValueError(f"{name} must be a {'positive' if positive else 'non-negative'} number, got {value!r}")
        if (self.threshold is None) != (self.labels.task == "expressions"):
            raise ValueError(f"threshold must be given for action units and only for them, got {self.threshold!r}")

    @property
    def faces(self) -> Preparation:
        """What the network sees of a face: the paper's alignment, at the recipe's size, with its maps."""
        return replace(
            PREPARATIONS[self.preparation],
            size=self.image_size,
            difference=self.maps,
            thresholds=self.map_thresholds,
        )

    def changed(self, **changes: Any) -> Recipe:
        """Return the recipe with other values; ``options`` are merged into those that it has.

        Raises:
            ValueError: If there is no such value, or one is not allowed.
        """
        known = {each.name for each in fields(self)}
        if unknown := changes.keys() - known:
            raise ValueError(f"a recipe has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
        if "options" in changes:
            changes["options"] = {**self.options, **changes["options"]}
        return replace(self, **changes)


_CEDNN: dict[str, Any] = {
    "network": "cednn",
    "options": {"variant": "res-L18M1", "se": "first", "attention_blocks": 3},
    "image_size": 224,
    "maps": True,
    "preparation": "cednn",
    "augmentation": "cednn",
    "batch_size": 32,
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
    "monitor": "f1",
}

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(
                name="tra-net",
                network="tra_net",
                labels=Labels.of_units((1, 2, 4, 6, 9, 12, 25, 26)),
                threshold=3,
                image_size=224,
                preparation="tra-net",
                augmentation="tra-net",
                sampling="au-weighted",
                batch_size=64,
                batches=100,
                epochs=100,
                learning_rate=0.001,
                weight_decay=0.001,
                schedule=Constant(),
                loss="branches",
                patience=10,
                monitor="f1",
                ours="at most 100 epochs; a branch's loss is the mean over its labels",
            ),
            Recipe(
                name="lla-net",
                network="lla_net",
                labels=Labels.of_expressions(EXPRESSIONS),
                image_size=112,
                preparation="lla-net",
                augmentation="lla-net",
                batch_size=256,
                epochs=60,
                learning_rate=0.01,
                weight_decay=5e-4,
                schedule=ExponentialAfter(60, 0.9),
                monitor="challenge_score",
                ours="the decay, printed as starting after the 60 epochs, acts in longer runs only",
            ),
            Recipe(
                name="cednn",
                labels=Labels.of_units(DISFA_PLUS_AUS),
                threshold=2,
                epochs=20,
                schedule=Step(5, 0.1),
                **_CEDNN,
            ),
            Recipe(
                name="cednn-ck-plus",
                labels=Labels.of_units(CK_PLUS_AUS),
                threshold=1,
                epochs=30,
                schedule=Step(20, 0.1),
                **{**_CEDNN, "options": {"variant": "res-L3M6", "attention_blocks": 3}},
            ),
            Recipe(
                name="dba-net",
                network="dba_net",
                options={"backbone": "resnet101", "strategy": "dba"},
                labels=Labels.of_expressions(
                    ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
                ),
                image_size=100,
                preparation="dba-net",
                augmentation="dba-net",
                batch_size=64,
                epochs=50,
                learning_rate=0.005,
                weight_decay=5e-4,
                schedule=Poly(0.9),
                monitor="mean_class_accuracy",
                ours="the power of the poly decay",
            ),
        )
    }
)
