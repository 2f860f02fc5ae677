"""``reference-models export``: the networks as files that say what their outputs are and what a face must be like."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from torchvision import tv_tensors
from typer.testing import CliRunner, Result

from reference_models.cli.app import app
from reference_models.data.augmentation import augmentation, list_augmentations
from reference_models.export.subject import VALUES, subject
from reference_models.training.networks import build
from reference_models.training.recipes import RECIPES
from reference_models.training.trained import RunRecord, write_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_a_trained_network_with_its_labels():
    recipe = RECIPES["cednn"].changed(image_size=32, options={"variant": "res-L6M3", "top_width": 16})
    network = build(recipe).eval()
    write_model(network, RunRecord.of(recipe, "data", 0), {}, Path("model.safetensors"))
    result = run("model.safetensors", "--to", "pt2", "-o", "cednn.pt2")
    assert result.exit_code == 0, result.stderr
    assert "the size is fixed at 32x32: x must have shape (B, 3, 32, 32)" in result.stdout
    extra = {"attnzoo.json": ""}
    program = torch.export.load("cednn.pt2", extra_files=extra)
    said = json.loads(extra["attnzoo.json"])
    assert json.loads(said["labels"]) == list(recipe.labels.names)
    assert json.loads(said["input_size"]) == [3, 32, 32]
    x, maps = torch.rand(100, 3, 32, 32), (torch.rand(100, 5, 32, 32) > 0.5).float()
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x, maps), network(x, maps), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_every_network_in_onnxruntime():
    """The sweep of the benchmarks does it at the papers' sizes, three batches and two image sizes."""
    for name in ("cednn", "lla_net"):
        result = run(name, "--size", "64", "-o", f"{name}.onnx")
        assert result.exit_code == 0, result.stderr
        assert "onnxruntime, 3 inputs" in result.stdout or "onnxruntime, 4 inputs" in result.stdout
        said = {each.key: each.value for each in onnx.load(f"{name}.onnx").metadata_props}
        assert said["model"] == f"{name} (random weights)"


@pytest.mark.parametrize("name", sorted(VALUES))
def test_what_is_said_of_values_is_what_the_network_was_trained_on(name: str):
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    seen = augmentation(name, 32).test({"image": tv_tensors.Image(image)})["image"].as_subclass(torch.Tensor)
    values = VALUES[name]
    if seen.dim() == 4:  # ten views of a larger picture: the first pixel of a grey one is the same in all of them
        image = torch.full((3, 32, 32), 77, dtype=torch.uint8)
        seen = augmentation(name, 32).test({"image": tv_tensors.Image(image)})["image"].as_subclass(torch.Tensor)[0]
    low, high = values["range"]
    x = low + image.float() / 255 * (high - low)
    x = x.flip(0) if values["order"] == "BGR" else x
    mean, std = (torch.tensor(values[key]).float().view(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close((x - mean) / std, seen, rtol=1e-5, atol=1e-4)


def test_every_augmentation_is_described():
    assert sorted(VALUES) == list_augmentations()
    assert subject("lla_net", 64).metadata["values"]["std"] == [0.229, 0.224, 0.225]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lla"], "MODEL must be one of"),
        (["absent.safetensors"], "no model at absent.safetensors"),
        (["lla_net", "--to", "tflite"], "--to must be one of"),
        (["lla_net", "-o", "x.pt"], "the output x.pt must end in .onnx"),
        (["model.safetensors", "--size", "64"], "--size must be left out: model.safetensors was trained at its own"),
    ],
)
def test_wrong_input_is_one_sentence_and_code_2(arguments: list[str], sentence: str):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"reference-models: {sentence}")
    assert result.stderr.count("\n") == 1
