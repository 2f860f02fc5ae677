"""``attnzoo doctor``: what it says of this machine, and what it says is missing where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from attnzoo import ops
from attnzoo.cli import doctor
from attnzoo.cli.app import app


def run(*arguments: str, **variables: str):
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "300", **variables}, catch_exceptions=False)


def test_it_names_versions_backends_devices_and_variables(tmp_path: Path):
    result = run("--json", str(tmp_path / "doctor.json"), OMP_NUM_THREADS="3", ATTNZOO_ISA="avx2")
    assert result.exit_code == 0
    findings = json.loads((tmp_path / "doctor.json").read_text())
    assert findings["versions"]["torch"] == metadata.version("torch")
    for name, info in ops.backends().items():
        assert findings["backends"][name] == ("" if info.available else "missing: ") + info.detail
        assert info.detail in result.stdout
    assert f"{torch.get_num_threads()} threads" in findings["devices"]["cpu"]
    assert findings["environment"]["OMP_NUM_THREADS"] == "3"
    assert all(section in result.stdout for section in findings)


def test_an_extra_that_lacks_a_package_comes_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    def version(package: str) -> str | None:
        return None if package == "numba" else "1.0"

    monkeypatch.setattr(doctor, "_version", version)
    extras = doctor.examine()["extras"]
    assert extras["synth"] == 'missing numba: pip install "attnzoo[synth]"'
    assert extras["train"] == "installed"
    assert extras["all"] == 'missing numba: pip install "attnzoo[all]"'
    assert {"faces", "train", "synth", "report", "export"} <= set(extras)


def test_kernels_that_are_missing_are_named_with_the_reason():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "COLUMNS": "200"}
    code = "from attnzoo.cli import main; main()"
    command = [sys.executable, "-c", f"import sys; sys.argv = ['attnzoo', 'doctor']; {code}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "missing: TRITON_INTERPRET is set" in done.stdout


@pytest.mark.parametrize("where", ["no/such/doctor.json", "."])
def test_a_file_that_cannot_be_written_is_one_sentence(where: str, tmp_path: Path):
    result = run("--json", str(tmp_path / where))
    assert result.exit_code == 2
    assert result.stderr.startswith("attnzoo: ")
    assert result.stderr.count("\n") == 1
