"""Predictions are the network's own, of the face aligned as it was trained, in each kind of file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.faces.alignment import align_chip
from reference_models.training.networks import build
from reference_models.training.recipes import RECIPES, Recipe
from reference_models.training.trained import RunRecord, write_model
from tests.reference_models import astronaut
from tests.reference_models.randomise import randomise

SIZE = 64


def recipe(maps: bool) -> Recipe:
    options = {"attention_blocks": 3 if maps else 0, "top_width": 32}
    return RECIPES["cednn"].changed(image_size=SIZE, maps=maps, options=options)


def trained(folder: Path, maps: bool) -> torch.nn.Module:
    torch.manual_seed(4)
    network = randomise(build(recipe(maps))).eval()
    write_model(network, RunRecord.of(recipe(maps), "none", 0), {}, folder / "model.safetensors")
    return network


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "a photograph.png"
    Image.fromarray(np.array(astronaut.photograph())).save(path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("maps", [False, True])
def test_values_are_the_networks_of_the_aligned_face(tmp_path: Path, photograph: Path, maps: bool):
    network, model = trained(tmp_path, maps), tmp_path / "model.safetensors"
    neutral = ("--neutral", photograph) if maps else ()
    run(photograph, photograph, "--model", model, *neutral, "-o", tmp_path / "said.json")
    first, second = json.loads((tmp_path / "said.json").read_text())
    assert first == second
    face = align_chip(astronaut.photograph(), astronaut.face().points, size=SIZE).image
    x = torch.from_numpy(face.transpose(2, 0, 1).copy())[None] / 255
    unchanged = (torch.zeros(1, 5, SIZE, SIZE),) if maps else ()  # the neutral face is the same photograph
    with torch.no_grad():
        expected = network(x, *unchanged).sigmoid()[0]
    assert list(first["probabilities"]) == list(recipe(maps).labels.names)
    torch.testing.assert_close(torch.tensor(list(first["probabilities"].values())), expected, rtol=1e-4, atol=1e-5)


def test_a_table_and_a_sheet(tmp_path: Path, photograph: Path):
    trained(tmp_path, maps=False)
    for suffix in ("csv", "png"):
        run(photograph, "--model", tmp_path / "model.safetensors", "-o", tmp_path / f"said.{suffix}")
    (line,) = csv.DictReader((tmp_path / "said.csv").read_text().splitlines())
    assert line.pop("image") == str(photograph)
    assert list(line) == list(recipe(maps=False).labels.names)
    assert all(0 <= float(value) <= 1 for value in line.values())
    with Image.open(tmp_path / "said.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 50


@pytest.mark.parametrize(
    ("maps", "arguments", "message"),
    [
        (True, (), "neutral must be given: the network takes difference maps"),
        (False, ("--neutral", "PHOTOGRAPH"), "neutral must be left out: the network takes no maps"),
        (False, ("-o", "said.txt"), "suffix must be one of '.csv', '.json', '.png', got '.txt'"),
        (False, ("--model", "absent.safetensors"), "no model at absent.safetensors"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, photograph, maps, arguments, message):
    trained(tmp_path, maps)
    given = [str(photograph) if argument == "PHOTOGRAPH" else argument for argument in arguments]
    model = [] if "--model" in given else ["--model", str(tmp_path / "model.safetensors")]
    result = CliRunner().invoke(app, ["predict", str(photograph), *model, *given])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
