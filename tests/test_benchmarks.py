"""The benchmarks run, by the commands that the documentation gives."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> str:
    # a worker of pytest-xdist says so in its environment, and pytest-benchmark believes it
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    outside["COLUMNS"] = "160"  # of a table whose words are looked for
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*_*.py")))
def test_what_a_benchmark_imports_is_there(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))  # as where a script is run by its path
    importlib.import_module(f"benchmarks.{name}")


def test_benchmark_only_is_a_bare_command():
    chosen = ("-k", "se-8x2048x7x7-fp32-NCHW-forward and not compiled", "--benchmark-max-time=0.01")
    output = run("-m", "pytest", "--benchmark-only", *chosen)
    assert "4 passed" in output
    assert "bench_ops.py" in output
    assert "se-8x2048x7x7-fp32-NCHW-forward-attnzoo native" in output


def test_a_measurement_writes_as_it_goes_and_goes_on_where_it_stopped(tmp_path: Path):
    path = tmp_path / "ops.json"
    command = ("-m", "benchmarks.measure_ops", "--no-tests", "--rounds", "3", "--quick", "--output", str(path))
    output = run(*command, "--only", "se fp32 NCHW")
    assert "se training fp32 over timm" in output
    first = json.loads(path.read_text())["rows"]
    assert {row["mode"] for row in first} == {"forward", "training"}
    assert all(row["peak_maps"] > 0.9 for row in first if row["provider"] != "copy")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": first[:5]}))  # as if stopped behind the forward
    run(*command, "--only", "se fp32 NCHW", "--resume")
    again = json.loads(path.read_text())["rows"]
    assert again[:5] == first[:5]
    assert [row["provider"] for row in again] == [row["provider"] for row in first]
