"""The command: its help, and one clear sentence with exit code 2 for each thing a user may get wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import reference_models
from reference_models.cli.app import app
from tests.reference_models.faces.test_images import png_that_claims


def told(*arguments: str) -> str:
    """Return what a wrong call says, having checked that it is one sentence, on the error stream, with code 2."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("reference-models: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def flat(folder, name="flat.png"):
    path = folder / name
    Image.fromarray(np.full((90, 120, 3), 99, np.uint8)).save(path)
    return path


def test_photographs_that_cannot_be_read(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_that_claims(60_000, 60_000))
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    output = str(tmp_path / "sheet.png")
    for path, message in (
        (tmp_path / "absent.jpg", "does not exist"),
        (tmp_path, "is a folder"),
        (text, "is no image in a known format"),
        (truncated, "cannot be decoded: .*truncated"),
        (bomb, "more than the 64,000,000"),
        (flat(tmp_path), "no face was found in "),
        (flat(tmp_path, "one [red]name ü.png"), "no face was found in "),
    ):
        said = told("demo", str(path), "-o", output)
        assert str(path) in said
        assert re.search(message, said)
    assert not (tmp_path / "sheet.png").exists()


def test_a_single_pixel_has_no_face(tmp_path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    assert "no face was found" in told("demo", str(path), "-o", str(tmp_path / "sheet.png"))


def test_the_neutral_frame_is_read_too(tmp_path):
    assert "flat.png" in told("demo", "--neutral", str(flat(tmp_path)), "-o", str(tmp_path / "sheet.png"))
    assert "absent.png" in told("demo", "--neutral", "absent.png", "-o", str(tmp_path / "sheet.png"))


def test_outputs_that_cannot_be_written(tmp_path):
    assert "does not exist" in told("demo", "-o", str(tmp_path / "absent" / "sheet.png"))
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in told("demo", "-o", str(tmp_path / "folder.png"))
    assert "must end in .png" in told("demo", "-o", str(tmp_path / "sheet.txt"))


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "skimage.data", raising=False)
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert 'pip install "attnzoo[faces]"' in told("demo", "-o", str(tmp_path / "sheet.png"))


def test_the_installed_command_says_the_same():
    command = Path(sys.executable).with_name("reference-models")
    result = subprocess.run([command, "demo", "absent.jpg"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "reference-models: absent.jpg does not exist\n"


def test_list_names_every_network():
    result = CliRunner().invoke(app, ["list"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    for name in reference_models.list_models():
        assert name in result.stdout
        assert reference_models.model_class(name).__name__ in result.stdout
    assert "IMCOM 2020" in result.stdout


@pytest.mark.parametrize("command", [[], ["demo"], ["list"]])
def test_help_teaches(command):
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert f"reference-models {command[0] if command else 'demo'}" in result.stdout
    if command:
        assert "Examples:" in result.stdout
    if command == ["demo"]:
        assert "iBUG 300-W" in result.stdout
        assert "random weights" in result.stdout


def test_version_and_unknown_commands():
    import attnzoo

    assert CliRunner().invoke(app, ["--version"]).stdout == f"reference-models {attnzoo.__version__}\n"
    assert CliRunner().invoke(app, ["nothing"]).exit_code == 2
