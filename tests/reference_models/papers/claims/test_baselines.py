"""The baselines beside: torchvision's classifiers with other outputs, attention attached, and HOG with ridge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from reference_models.data.dataset import FaceDataset
from reference_models.data.labels import Labels
from reference_models.data.records import Record
from reference_models.papers.claims.budget import BUDGETS
from reference_models.papers.claims.hog import HOG, hog_scores
from reference_models.papers.claims.variants import VARIANTS
from reference_models.training.baselines import classifier
from reference_models.training.networks import build
from reference_models.training.sides import Sides
from tests.reference_models.training.faces import UNITS, recipe


def test_weights_go_into_all_but_the_new_head(tmp_path: Path):
    published = torchvision.models.resnet18()
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    made = classifier("resnet18", 5, weights=str(tmp_path / "resnet18.pth"))
    theirs = published.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in made.state_dict().items() if "fc." not in name)
    assert made.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_other_weights_and_names_are_refused(tmp_path: Path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(ValueError, match=r"weights must be those of MobileNetV2, and .*resnet18.pth holds others"):
        classifier("mobilenet_v2", 5, weights=str(tmp_path / "resnet18.pth"))
    with pytest.raises(FileNotFoundError, match=r"no weights file at nowhere.pth"):
        classifier("mobilenet_v2", 5, weights="nowhere.pth")
    with pytest.raises(ValueError, match=r"torchvision has no classification model named 'resnet19'"):
        classifier("resnet19", 5)


@pytest.mark.parametrize(("name", "sites"), [("lla-net-se", 8), ("lla-net-cbam", 8)])
def test_attention_stands_where_llam_would(name: str, sites: int):
    """One in each of ResNet-18's eight blocks, inside the branch, as the paper has it: without a blend."""
    network = build(BUDGETS["small"].recipe(VARIANTS[name]))
    kinds = {"lla-net-se": "SqueezeExcite", "lla-net-cbam": "CBAM"}
    found = [path for path, module in network.named_modules() if type(module).__name__ == kinds[name]]
    assert len(found) == sites
    assert all(".bn2." in path for path in found), found
    assert not any(path.endswith("blend") for path, _ in network.named_parameters())


class Stripes:
    """Faces on which each unit that is active shows as horizontal stripes in its half, else vertical ones."""

    def image(self, record: Record) -> NDArray[np.uint8]:
        noise = np.random.default_rng(record.frame).integers(0, 120, (48, 48, 3), dtype=np.uint8)
        stripes = np.repeat(np.arange(48) // 4 % 2 == 0, 24).reshape(48, 24)
        for half, level in enumerate(record.levels):
            pattern = stripes if level else np.resize(stripes[:24].T, (48, 24))
            noise[:, half * 24 : half * 24 + 24] += (30 * pattern[..., None]).astype(np.uint8)
        return noise

    def neutral(self, record: Record) -> NDArray[np.uint8]:
        return np.full((48, 48, 3), 60, dtype=np.uint8)

    def maps(self, record: Record) -> None:
        return None


@pytest.mark.parametrize("of", ["frames", "differences"])
def test_hog_and_ridge_learn_what_edges_tell(of: str):
    generator = np.random.default_rng(0)
    levels = generator.choice((0, 4), (180, 2)).tolist()
    records = [
        Record(f"{i}.png", f"S{i}", f"S{i}/{i}", i, UNITS, tuple(each), neutral="rest.png")
        for i, each in enumerate(levels)
    ]

    def side(chosen: list[Record]) -> FaceDataset:
        return FaceDataset(Stripes(), chosen, Labels.of_units(UNITS), threshold=2)

    sides = Sides(side(records[:100]), side(records[100:120]), side(records[120:]), "stripes")
    of_stripes = recipe(network=HOG, options={"of": of})
    assert hog_scores(of_stripes, sides)["f1_tuned"] > 0.9
