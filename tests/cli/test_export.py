"""``attnzoo export``: the file that it writes, and one sentence with exit code 2 for wrong input."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import timm
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import attnzoo
from attnzoo.cli.app import app


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_a_trained_attention_and_a_trained_backbone_are_in_the_file():
    torch.manual_seed(5)
    model = timm.create_model("test_resnet", num_classes=4)
    attachment = attnzoo.attach(model, "se", init="paper")
    save_file(model.state_dict(), "whole.safetensors")
    attachment.save("attention.safetensors")
    model.eval()
    for files in (["--weights", "whole.safetensors"], ["--attachment", "attention.safetensors"]):
        result = run(
            "test_resnet", "se", "--to", "pt2", "--init", "paper", "--num-classes", "4", "--image-size", "64", *files
        )
        assert result.exit_code == 0, result.stderr
        assert "test_resnet + se" in result.stdout
        assert "x (batch, 3, height, width)" in result.stdout
        assert "torch, 4 inputs: largest difference" in result.stdout
        got = torch.export.load("test_resnet.pt2").module()(torch.ones(1, 3, 96, 64))
        assert torch.allclose(got, model(torch.ones(1, 3, 96, 64)), atol=1e-5) == (files[0] == "--weights")


def test_onnx_with_what_a_user_of_the_file_must_know():
    result = run("test_resnet", "cbam", "-o", "model.onnx", "--image-size", "64", "--dynamic", "none", "--no-check")
    assert result.exit_code == 0, result.stderr
    assert ["checked", "no"] in [line.split() for line in result.stdout.splitlines()]
    written = onnx.load("model.onnx")
    said = {each.key: each.value for each in written.metadata_props}
    assert said["model"] == "test_resnet + cbam"
    assert said["input_size"] == "[3, 64, 64]"
    assert said["mean"] == str(list(timm.create_model("test_resnet").pretrained_cfg["mean"]))
    assert [axis.dim_value for axis in written.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 64]


def test_a_model_of_torchvision():
    result = run("torchvision/squeezenet1_1", "--to", "pt2", "--dynamic", "batch", "--image-size", "64")
    assert result.exit_code == 0, result.stderr
    assert "x (batch, 3, 64, 64)" in result.stdout
    assert Path("squeezenet1_1.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["resnt18"], "timm has no model 'resnt18'; did you mean"),
        (["torchvision/resnt18"], "torchvision has no model 'resnt18'; did you mean"),
        (["torchvision/resnet18", "--num-classes", "3"], "--num-classes is for models of timm"),
        (["test_resnet", "--to", "tflite"], "--to must be one of"),
        (["test_resnet", "cbm"], "no layer named 'cbm'"),
        (["test_resnet", "difference_gate"], "difference_gate is guided by maps"),
        (["test_resnet", "-o", "model.pt2"], "the output model.pt2 must end in .onnx"),
        (["test_resnet", "--attachment", "a.safetensors"], "--attachment must be given once for each of the 0 layers"),
        (["test_resnet", "--weights", "a.pth"], "--weights must be a .safetensors file, got a.pth"),
        (["test_resnet", "--weights", "absent.safetensors"], "No such file or directory"),
        (["test_resnet", "--weights", "broken.safetensors"], "broken.safetensors is no safetensors file"),
        (["test_resnet", "--weights", "other.safetensors"], "other.safetensors does not fit: Error(s) in loading"),
        (["test_resnet", "--dynamic", "time"], "dynamic must be one of"),
    ],
)
def test_wrong_input_is_one_sentence_and_code_2(folder: Path, arguments: list[str], sentence: str):
    Path("broken.safetensors").write_bytes(b"\xff" * 64)
    save_file({"fc.weight": torch.zeros(2)}, "other.safetensors")
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert result.stderr.startswith("attnzoo: ")
    assert result.stderr.count("\n") == 1
    assert not [path for path in folder.iterdir() if path.suffix in {".onnx", ".pt2"}]


def test_help_has_examples():
    result = CliRunner().invoke(app, ["export", "--help"])
    assert result.exit_code == 0
    assert "attnzoo export resnet18 cbam" in result.stdout
