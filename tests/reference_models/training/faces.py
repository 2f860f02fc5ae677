"""Small pictures with labels that can be learned: where a unit is active, its corner is bright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from reference_models.data.dataset import FaceDataset, Views
from reference_models.data.labels import Labels
from reference_models.data.records import Record
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.sides import Sides

SIZE = 32
UNITS = (1, 12)


@dataclass(frozen=True)
class CornerPictures:
    """Draws each record's picture from its frame number and levels."""

    def image(self, record: Record) -> NDArray[np.uint8]:
        noise = np.random.default_rng(record.frame).integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
        for corner, level in enumerate(record.levels):
            noise[: SIZE // 2, corner * SIZE // 2 : (corner + 1) * SIZE // 2] += np.uint8(30 * level)
        return noise

    def neutral(self, record: Record) -> NDArray[np.uint8]:
        raise NotImplementedError

    def maps(self, record: Record) -> NDArray[np.uint8] | None:
        return None


def brightened(views: Views) -> Views:
    """A random transform: brightens by chance, so that a wrong random state shows."""
    return {"image": views["image"].float() / 255 + 0.1 * torch.rand(())}


def plain(views: Views) -> Views:
    return {"image": views["image"].float() / 255}


def sides(pictures: CornerPictures | None = None) -> Sides:
    generator = np.random.default_rng(4)
    records = [
        Record(f"{i}.png", f"S{i // 8}", f"S{i // 8}/{i}", i, UNITS, tuple(int(v) for v in generator.choice((0, 4), 2)))
        for i in range(80)
    ]
    labels = Labels.of_units(UNITS)

    def dataset(chosen: list[Record], transform: object) -> FaceDataset:
        return FaceDataset(pictures or CornerPictures(), chosen, labels, threshold=2, transform=transform)

    return Sides(
        dataset(records[:48], brightened), dataset(records[48:64], plain), dataset(records[64:], plain), "corners"
    )


def recipe(**changes: object) -> Recipe:
    """CEDNN without maps, small."""
    small = {
        "labels": Labels.of_units(UNITS),
        "image_size": SIZE,
        "maps": False,
        "options": {"attention_blocks": 0, "se": None, "top_width": 32},
        "batch_size": 16,
        "epochs": 3,
        "learning_rate": 0.00005,  # so low that rounding, which differs on several processes, does not grow
    }
    return RECIPES["cednn"].changed(**{**small, **changes})
