"""``reference-models quantize``: an int8 file, calibrated on faces, that says nearly what the network says."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.data.dataset import collate
from reference_models.export.int8 import quantize
from reference_models.export.onnx_network import OnnxNetwork
from reference_models.export.subject import subject
from reference_models.training.networks import build, inputs_of
from reference_models.training.recipes import RECIPES
from reference_models.training.sources import Source
from reference_models.training.trained import RunRecord, write_model


def test_int8_is_close_small_and_says_what_it_is(tmp_path: Path):
    recipe = RECIPES["cednn"].changed(image_size=32, options={"variant": "res-L6M3", "top_width": 256})
    torch.manual_seed(3)
    write_model(build(recipe).eval(), RunRecord.of(recipe, "data", 0), {}, tmp_path / "model.safetensors")
    made = subject(str(tmp_path / "model.safetensors"), None)
    sides = Source(identities=6, frames=2).sides(recipe)
    seen: list[int] = []
    before, after = quantize(
        made, sides.validation, sides.test, tmp_path / "int8.onnx", count=8, on_progress=seen.append
    )
    assert seen
    assert after.size < 0.6 * before.size  # grouped convolutions, much of this one, stay in float32
    assert set(after.scores) == set(before.scores)
    (batch, *_) = DataLoader(sides.test, 8, collate_fn=collate)
    inputs = inputs_of(recipe, batch)
    with torch.no_grad():
        exact, rounded = made.network(*inputs), OnnxNetwork(tmp_path / "int8.onnx")(*inputs)
    spread = float((exact - exact.mean()).abs().max())
    assert 0 < float((exact - rounded).abs().max()) < 0.2 * spread
    said = {each.key: each.value for each in onnx.load(tmp_path / "int8.onnx").metadata_props}
    assert said["precision"] == "int8, calibrated on 8 faces"
    assert said["labels"].startswith('["AU1", ')
    assert {path.name for path in tmp_path.iterdir()} == {"int8.onnx", "model.safetensors"}


def test_what_multiplies_by_a_matrix_is_quantised_and_nothing_else(tmp_path: Path):
    recipe = RECIPES["cednn"].changed(image_size=32, options={"variant": "res-L6M3", "top_width": 64})
    write_model(build(recipe).eval(), RunRecord.of(recipe, "data", 0), {}, tmp_path / "model.safetensors")
    made = subject(str(tmp_path / "model.safetensors"), None)
    sides = Source(identities=6, frames=2).sides(recipe)
    quantize(made, sides.validation, sides.test, tmp_path / "int8.onnx", count=8)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    groups = {
        node.name: next((each.i for each in node.attribute if each.name == "group"), 1)
        for node in graph.node
        if node.op_type == "Conv"
    }
    rounded = {
        node.name: made_by.get(node.input[1]) == "DequantizeLinear" for node in graph.node if node.name in groups
    }
    assert set(groups.values()) > {1}
    assert rounded == {name: count == 1 for name, count in groups.items()}
    assert all(
        "DequantizeLinear" in map(made_by.get, node.input) for node in graph.node if node.op_type in {"Gemm", "MatMul"}
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.safetensors", "-o", "x.onnx"], "no model at absent.safetensors"),
        (["absent.safetensors", "-o", "x.pt2"], "the output x.pt2 must end in .onnx"),
    ],
)
def test_wrong_input_is_one_sentence_and_code_2(arguments: list[str], sentence: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["quantize", *arguments], catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"reference-models: {sentence}\n")
