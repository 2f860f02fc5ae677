"""``attnzoo look``: a sheet and a table, or one sentence that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import attnzoo
from attnzoo.cli.app import app


def look(*arguments: str | Path) -> Result:
    command = ["look", *map(str, arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((240, 160)).save(path)
    return path


def test_a_sheet_and_a_table_of_all_gates(photo: Path, tmp_path: Path):
    result = look(photo, "test_resnet", "cbam", "timm/eca", "-o", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.stderr
    for name in ("layer1.0.attnzoo.0.layer:spatial", "layer4.0.attnzoo.1.layer:gate"):
        assert name in result.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == 6 * 275


def test_a_models_own_gates_and_a_pattern(photo: Path, tmp_path: Path):
    result = look(photo, "mobilenetv3_small_050", "--only", "blocks.0.*", "-o", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.stderr
    assert "blocks.0.0.se:gate" in result.stdout
    assert "blocks.2" not in result.stdout


def test_a_trained_attachment_is_loaded(photo: Path, tmp_path: Path):
    model = timm.create_model("test_resnet")
    attachment = attnzoo.attach(model, "se")
    with torch.no_grad():
        for name, parameter in attachment.named_parameters():
            parameter.fill_(-50.0 if name.endswith("fc2.bias") else 0.0)
    attachment.save(tmp_path / "dead.safetensors")
    result = look(photo, "test_resnet", "se", "--attachment", tmp_path / "dead.safetensors", "-o", tmp_path / "s.png")
    assert result.exit_code == 0, result.stderr
    assert "layer4.0.attnzoo.0.layer:channel: 96 of 96 channels are dead (always 0, within 0.01)" in result.stdout


def test_what_is_wrong_is_said_in_one_sentence(photo: Path, tmp_path: Path):
    sheet = tmp_path / "sheet.png"
    (tmp_path / "text.jpg").write_text("no image")
    for arguments, sentence in (
        (["absent.jpg", "test_resnet", "se"], "there is no file absent.jpg"),
        ([tmp_path / "text.jpg", "test_resnet", "se"], f"{tmp_path / 'text.jpg'} is no image that can be read: "),
        ([photo, "test_resnt", "se"], "timm has no model 'test_resnt'; did you mean test_resnet"),
        ([photo, "test_resnet", "sse"], "no layer named 'sse'; did you mean se"),
        ([photo, "test_resnet"], "test_resnet has no gate to see"),
        ([photo, "test_resnet", "se", "--only", "x"], "test_resnet has no gate to see, or none matches --only"),
        ([photo, "test_resnet", "difference_gate"], "difference_gate is guided by maps"),
        ([photo, "test_resnet", "se", "--attachment", photo, "--attachment", photo], "--attachment must be given once"),
        ([photo, "test_resnet", "se", "--attachment", photo], f"{photo} is no safetensors file"),
        ([photo, "test_resnet", "se", "-o", tmp_path / "x.jpg"], f"the output {tmp_path / 'x.jpg'} must end in .png"),
        ([photo, "test_resnet", "se", "-o", tmp_path / "no" / "x.png"], "the output's folder "),
    ):
        result = look(*arguments, *([] if "-o" in arguments else ["-o", sheet]))
        assert result.exit_code == 2
        assert result.stderr.startswith(f"attnzoo: {sentence}"), result.stderr
        assert result.stderr.count("\n") == 1
    assert not sheet.exists()
