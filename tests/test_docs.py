"""README and documentation: generated parts are up to date, all snippets run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import attnzoo.cli
import reference_models.cli
import reference_models.data
import reference_models.faces
import reference_models.papers.ledger
import reference_models.preparation
from docs.generate import pages, results

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "*/README.md")
    for path in ROOT.glob(pattern)
)
IN_ONE_GO = "docs/first-model.md"  # its commands and snippets need one another: tests/test_first_model.py
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def shell_lines(program: str) -> list[str]:
    blocks = (block for page in PAGES if page != IN_ONE_GO for block in SHELL.findall((ROOT / page).read_text()))
    return sorted({line for block in blocks for line in block.splitlines() if line.split(" ")[0] == program})


def pages_with_snippets() -> list[str]:
    return [page for page in PAGES if page != IN_ONE_GO and SNIPPET.search((ROOT / page).read_text())]


def layer_pages() -> set[str]:
    return {path.stem for path in (ROOT / "docs/layers").glob("*.md")} - {"index"}


@pytest.mark.parametrize("page", pages_with_snippets())
@pytest.mark.usefixtures("own_layers")
def test_snippets_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    text = (ROOT / page).read_text()
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for snippet in SNIPPET.finditer(text):
        line = text.count("\n", 0, snippet.start(1))
        exec(compile("\n" * line + snippet[1], ROOT / page, "exec"), names)  # noqa: S102 - our own pages


@pytest.mark.parametrize("page", [path.relative_to(ROOT).as_posix() for path in pages.files()])
def test_generated_parts_are_up_to_date(page):
    path = ROOT / page
    assert pages.updated(path) == path.read_text(), "run: python -m docs.generate"


def test_an_outdated_part_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: layer se -->\nold\n<!-- end -->\nafter\n")
    written = pages.updated(page)
    assert written.startswith("before\n<!-- generated: layer se -->\n| `se` |")
    assert written.endswith("<!-- end -->\nafter\n")
    assert "old" not in written


def test_results_become_a_table_that_says_where_they_were_made(tmp_path, monkeypatch):
    result = {
        "command": "python benchmarks/bench_x.py",
        "commit": "abc1234",
        "machine": {"cores": 2},
        "versions": {"torch": "2.15.0"},
        "rows": [{"layer": "se", "time ms": 1.23456, "bytes": 4096}, {"layer": "a|b", "time ms": 20.0, "bytes": 1}],
    }
    (tmp_path / "x.json").write_text(json.dumps(result))
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert results.results(tmp_path / "page.md", "x") == (
        "| layer | time ms | bytes |\n| --- | --- | --- |\n| se | 1.235 | 4,096 |\n| a\\|b | 20 | 1 |\n\n"
        "`python benchmarks/bench_x.py`, commit abc1234; cores 2, torch 2.15.0."
    )


def test_the_committed_ledger_holds_the_claims_of_today():
    keys = ("network", "variant", "source", "quantity", "convention", "paper", "reason")
    committed = json.loads((ROOT / "benchmarks/results/ledger.json").read_text())["figures"]
    today = [
        (one.network, one.variant, one.source, claim.quantity, claim.convention, claim.paper, claim.reason)
        for one in reference_models.papers.ledger.subjects()
        for claim in one.claims
    ]
    assert [tuple(figure[key] for key in keys) for figure in committed] == today


def test_every_registered_layer_has_a_page_that_says_its_facts():
    assert layer_pages() == set(attnzoo.list_layers())
    for name in layer_pages():
        assert f"<!-- generated: layer {name} -->" in (ROOT / f"docs/layers/{name}.md").read_text()


def test_every_network_is_described():
    text = (ROOT / "docs/networks.md").read_text()
    assert [name for name in reference_models.list_models() if f"generated: network {name} " not in text] == []


@pytest.mark.parametrize(
    "package",
    [
        attnzoo,
        attnzoo.ops,
        attnzoo.ops.igc,
        reference_models,
        reference_models.data,
        reference_models.faces,
        reference_models.preparation,
    ],
)
def test_every_public_name_has_a_reference_entry(package):
    text = (ROOT / "docs/api.md").read_text()
    _, _, part = text.partition(f"<!-- generated: api {package.__name__} -->")
    entries = re.findall(r"^::: [\w.]+\.(\w+)$", part.partition("<!-- end -->")[0], re.MULTILINE)
    assert sorted(entries) == sorted(package.__all__)


@pytest.mark.parametrize("line", shell_lines("attnzoo"))
def test_shell_lines_run(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 64), "teal").save("photo.jpg")
    result = CliRunner().invoke(attnzoo.cli.app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("line", shell_lines("reference-models"))
def test_shell_lines_of_the_networks_name_commands(line):
    result = CliRunner().invoke(reference_models.cli.app, [shlex.split(line)[1], "--help"])
    assert result.exit_code == 0, result.output


def test_local_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
