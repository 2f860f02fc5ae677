"""``reference-models look``: one network on a face."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import reference_models
from reference_models.cli.app import app
from reference_models.look.run import NETWORKS
from reference_models.weights import save_weights
from tests.reference_models.astronaut import photograph


@pytest.fixture
def face(tmp_path: Path) -> Path:
    Image.fromarray(photograph()).save(tmp_path / "face.png")
    return tmp_path / "face.png"


def run(*arguments: str | Path) -> Result:
    command = ["look", *map(str, arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"}, catch_exceptions=False)


def test_it_knows_every_network_that_has_attention():
    assert {*NETWORKS, "igc_net"} == set(reference_models.list_models())


def test_cednn_with_its_difference_maps(face: Path, tmp_path: Path):
    result = run(face, "--model", "cednn", "--neutral", face, "-o", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.stderr
    for name in ("stack:maps", "gates.0:maps", "gates.1:maps", "block_layers.5:channel"):
        assert name in result.stdout
    assert "The weights are random" in result.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_weights_are_loaded(face: Path, tmp_path: Path):
    network = reference_models.create("lla_net")
    for name, parameter in network.named_parameters():
        if name.endswith("llam.conv.bias"):
            parameter.data.fill_(50.0)
    save_weights(network, tmp_path / "weights.safetensors")
    result = run(face, "--model", "lla_net", "--weights", tmp_path / "weights.safetensors", "-o", tmp_path / "s.png")
    assert result.exit_code == 0, result.stderr
    assert "layer1.0.llam:element: 64 of 64 channels are open (always 1, within 0.01)" in result.stdout
    assert "random" not in result.stdout


def test_what_is_wrong_is_said_in_one_sentence(face: Path, tmp_path: Path):
    for arguments, sentence in (
        (
            ["--model", "resnet"],
            "--model must be one of cednn, dba_net, lla_net, tra_net, or a model that 'train' has",
        ),
        (["--model", "lla_net", "--neutral", face], "--neutral is for cednn"),
        (["--model", "lla_net", "--weights", "absent.pth"], "no weights file at absent.pth"),
        (["--model", "lla_net", "-o", tmp_path / "x.txt"], "the output "),
    ):
        result = run(face, *arguments, *([] if "-o" in arguments else ["-o", tmp_path / "sheet.png"]))
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith(f"reference-models: {sentence}"), result.stderr
    assert not (tmp_path / "sheet.png").exists()
