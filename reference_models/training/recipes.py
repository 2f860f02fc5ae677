"""The papers' training settings, one frozen recipe for each network and dataset, with every printed value.

Values that a paper does not print were chosen here and are named in the recipe's field ``ours``.
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
"""Floating-point precision of training, by Lightning's name."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network, data and optimisation of one training.

    Attributes:
        name: Key of the recipe.
        network: Name for :func:`reference_models.create`, or ``torchvision/<name>``.
        options: Its keyword arguments, except those set by labels and image size.
        attach: Arguments of :func:`attnzoo.attach`, to add attention to the network; None adds none.
        labels: The label of each output, in order.
        threshold: Level from which an action unit counts as present; None for expressions.
        image_size: Side of the square picture in pixels.
        maps: Whether the network takes difference maps.
        map_thresholds: Grey levels at which a difference is thresholded, one map each.
        channels_last: Whether pictures are passed in the channels-last memory format, which may be faster.
        preparation: The network whose alignment the faces have, see :attr:`faces`.
        augmentation: Name of the paper's augmentation, see ``reference_models.data.augmentation``.
        sampling: ``shuffled``: every picture once an epoch; ``au-weighted``: drawn with weights of their action units.
        batch_size: Pictures per step, over all processes together.
        batches: Steps per epoch; None shows as many pictures as the training side has.
        epochs: Maximum number of epochs.
        optimizer: ``sgd`` as in the papers, or ``adamw``.
        learning_rate: Initial learning rate.
        momentum: Momentum of SGD; AdamW does not use it.
        weight_decay: L2 penalty of SGD, or decoupled weight decay of AdamW.
        schedule: Schedule of the learning rate.
        loss: ``mean``: over all labels; ``branches``: summed over the network's branches, each the mean of its labels.
        learned: Target probability of an action unit: ``presence``, 1 from the threshold on as in the papers;
            ``level``, the level divided by five, so that a logit expresses how strong a unit is.
        patience: Number of epochs without a better validation score after which training stops; None never stops early.
        monitor: Validation score by which the best epoch is chosen.
        ours: Values that the paper does not print and that were chosen here.
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
        """Preparation of the network's faces: the paper's alignment, with the recipe's image size and maps."""
        return replace(
            PREPARATIONS[self.preparation],
            size=self.image_size,
            difference=self.maps,
            thresholds=self.map_thresholds,
        )

    def changed(self, **changes: Any) -> Recipe:
        """Return a copy with other field values; ``options`` are merged into the present ones.

        Raises:
            ValueError: If there is no such field, or a value is not allowed.
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
