"""The page for newcomers, from its first line to its last: commands as processes, snippets in one Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/first-model.md"
BLOCK = re.compile(r"^```(?P<language>sh|python)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
INSTALL = 'pip install -e ".[all]"'


def run(command: str, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_page_runs_from_its_first_line_to_its_last(tmp_path, monkeypatch):
    text = PAGE.read_text()
    readme = (ROOT / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        if block["language"] == "python":
            line = text.count("\n", 0, block.start("code"))
            exec(compile("\n" * line + block["code"], PAGE, "exec"), names)  # noqa: S102 - our own page
            continue
        for command in block["code"].splitlines():
            if command == INSTALL:
                assert f"{INSTALL} && pytest" in readme  # with it, these tests were installed
            else:
                run(command, tmp_path)
    made = {"portraits.png", "gates.png", "look.png", "look.html", "cbam.safetensors", "expressions.onnx"}
    assert made <= {path.name for path in tmp_path.iterdir()}
