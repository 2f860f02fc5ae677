"""The package's own claims about itself: versions, entry points, extras, and the commands that README promises."""

from __future__ import annotations

import hashlib
import importlib
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import attnzoo

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
README_COMMANDS = ('pip install -e ".[all]" && reference-models demo', 'pip install -e ".[all]" && pytest')


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)
    assert newest is not None
    assert attnzoo.__version__ == PROJECT["version"] == citation["version"] == newest[1]
    assert str(citation["date-released"]) == newest[2]
    assert metadata.version("attnzoo") == attnzoo.__version__


@pytest.mark.parametrize("package", ["attnzoo", "reference_models"])
def test_package_is_marked_as_typed_and_ships_the_mark(package):
    shipped = PYPROJECT["tool"]["setuptools"]["package-data"][package]
    assert "py.typed" in shipped
    assert all(any((ROOT / package).glob(name)) for name in shipped)


@pytest.mark.parametrize("command", sorted(PROJECT["scripts"]))
def test_console_script_resolves(command):
    module, _, function = PROJECT["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_all_includes_every_extra_but_the_benchmarks_rivals():
    extras = dict(PROJECT["optional-dependencies"])
    (everything,) = extras.pop("all")
    extras.pop("bench")  # rivals that only benchmarks run
    extras.pop("hosts")  # under another licence, and each for its own users
    named = re.fullmatch(r"attnzoo\[([a-z,]+)\]", everything)
    assert named is not None
    assert sorted(named[1].split(",")) == sorted(extras)


def test_torch_has_no_upper_cap():
    (torch,) = (requirement for requirement in PROJECT["dependencies"] if re.match(r"torch\b", requirement))
    assert torch == "torch>=2.8"


def test_readme_opens_with_the_two_commands():
    top = (ROOT / "README.md").read_text().splitlines()[:15]
    assert [line for line in top if line.startswith("pip install")] == list(README_COMMANDS)


def test_ci_finds_the_readme_test_line():
    shown = subprocess.run([ROOT / ".ci/run", "--show"], capture_output=True, text=True, check=True, cwd="/")
    assert shown.stdout == README_COMMANDS[1] + "\n"


def test_ci_is_valid_bash():
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)


def test_citation_lists_the_networks_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert {"message", "title", "authors"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year", "notes"} <= set(reference)
    networks = {reference["notes"].split(",")[0].split(";")[0] for reference in citation["references"]}
    assert networks == {"TRA-Net", "LLA-Net", "CEDNN", "DBA-Net"}


def test_licence_is_the_verbatim_text():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert (
        digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    )  # apache.org/licenses/LICENSE-2.0.txt
