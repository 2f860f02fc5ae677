"""Train a YOLO with an attention: a trainer for ``ultralytics``, whose own rebuilds the model without it.

``YOLO.train`` makes a new model from its yaml file, so that whatever was attached before is dropped without a word. The
trainer here attaches after that, before weights are read and optimisers are made. The checkpoints hold the attended
model: ``YOLO("best.pt")`` needs attnzoo to be installed, and nothing else.

``ultralytics`` is licensed under the AGPL-3.0 and is not among attnzoo's requirements.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from attnzoo import checks
from attnzoo.attach import attach
from attnzoo.extras import load

TRAINERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "detect": ("ultralytics.models.yolo.detect", "DetectionTrainer"),
        "segment": ("ultralytics.models.yolo.segment", "SegmentationTrainer"),
        "classify": ("ultralytics.models.yolo.classify", "ClassificationTrainer"),
        "pose": ("ultralytics.models.yolo.pose", "PoseTrainer"),
        "obb": ("ultralytics.models.yolo.obb", "OBBTrainer"),
    }
)
"""Task to the module and the name of ultralytics' trainer."""


def attached_trainer(layer: Any, *, task: str = "detect", **options: Any) -> type:
    """Return a trainer class for ``YOLO.train(trainer=...)`` that attaches an attention to every model it builds.

    Weights that the run starts from are loaded as ultralytics does it; where they have the same attention, as a
    checkpoint that is resumed has, its weights are loaded too.

    Args:
        layer: The attention, as for :func:`attnzoo.attach`.
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``: that of the model.
        **options: Further arguments of :func:`attnzoo.attach`: ``where``, ``stages``, ``init``, options of the layer.

    Returns:
        A subclass of ultralytics' trainer for the task. On several GPUs ultralytics starts processes that import their
        trainer by name, which they cannot do with this class: train on one.

    Raises:
        ImportError: If ultralytics is not installed.
        ValueError: If ``task`` is unknown.

    Example:
        >>> from ultralytics import YOLO  # doctest: +SKIP
        >>> YOLO("yolov8n.yaml").train(data="coco8.yaml", trainer=attached_trainer("cbam"))  # doctest: +SKIP
    """
    checks.one_of("task", task, TRAINERS)
    load("ultralytics", extra="hosts")
    module, name = TRAINERS[task]
    base: Any = getattr(importlib.import_module(module), name)

    class AttachedTrainer(base):  # type: ignore[misc]
        """ultralytics' trainer, whose models have an attention."""

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            """Return the model of the run with the attention attached."""
            model = super().get_model(cfg, weights, verbose)
            attach(model, layer, **options)
            if isinstance(weights, nn.Module):
                _load_attention(model, weights)
            return model

    return AttachedTrainer


def _load_attention(model: nn.Module, source: nn.Module) -> None:
    """Load the attention of ``source`` if it has all tensors of the model's, in the same shapes."""
    wanted = {name: tensor for name, tensor in model.state_dict().items() if ".attnzoo." in f".{name}"}
    given = {name: tensor for name, tensor in source.state_dict().items() if name in wanted}
    if wanted.keys() == given.keys() and all(given[name].shape == wanted[name].shape for name in wanted):
        model.load_state_dict({**model.state_dict(), **{name: given[name].float() for name in given}})
