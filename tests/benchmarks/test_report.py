"""The report of the committed results, without a browser: what is on it, and what absent or spoilt results do."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from attnzoo.pages import Missing
from benchmarks.committed import KNOWN, Results
from benchmarks.report.__main__ import main
from benchmarks.report.goals import attainment
from benchmarks.report.page import SECTIONS
from tests.pages.parsed import check, local, spoken, with_class

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


class Done(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


def report(*arguments: str | Path) -> Done:
    """Run the command in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([*map(str, arguments)])
    return Done(code, stdout.getvalue(), stderr.getvalue())


def rows(name: str) -> list[dict]:
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    result = report("-o", path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"Report: {path}")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page: str):
    return check(page)


def table(tree, key: str) -> list[list[str]]:
    (found,) = (each for each in tree.iter("table") if each.get("id") == key)
    return [[spoken(cell) for cell in row] for row in found.find("tbody")]


def test_it_is_whole_and_small(page: str, tree):
    assert 100_000 < len(page) < 1_500_000
    policy = next(each.get("content") for each in tree.iter("meta") if each.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")


def test_every_figure_of_the_ledger_is_there_whether_it_agrees_or_not(tree):
    figures = json.loads((RESULTS / "ledger.json").read_text())["figures"]
    shown = table(tree, "figures-all")
    assert [row[7] for row in shown] == [f"{figure['computed']:,}" for figure in figures]
    assert [row[8] for row in shown].count("differs") == sum(figure["agrees"] is False for figure in figures)
    assert sum(figure["agrees"] is False for figure in figures) > 0


def test_goals_are_shown_won_and_lost(tree):
    shown = {row[0]: row for row in table(tree, "goals-all")}
    for goal in rows("goals"):
        assert shown[goal["name"]][5] == ("yes" if goal["held"] else "no")
        assert (attainment(goal["goal"], goal["measured"]) >= 1) == goal["held"]
    assert {row[5] for row in shown.values()} == {"yes", "no"}


def test_every_point_that_was_measured_is_drawn_and_can_be_read(tree):
    plots = {plot.get("id"): with_class(plot, "point") for plot in with_class(tree, "plot")}
    for mode in ("forward", "training"):
        measured = [row for row in rows("layers-cpu") if row["mode"] == mode and row["macs"]]
        assert len(plots[f"layers-{mode}"]) == len(measured) > 20
        for layer in ("cbam", "se"):
            chosen = [
                row
                for row in rows("ops-cpu")
                if (row["layer"], row["mode"], row["dtype"], row["layout"]) == (layer, mode, "fp32", "NCHW")
            ]
            assert len(plots[f"operations-{layer}-{mode}"]) == len(chosen) > 20
    assert len(plots["cednn-inference-1"]) > 20
    for points in plots.values():
        assert [point.get("tabindex") for point in points].count("0") == 1
        assert all(point.get("role") == "img" and " ms" in point.get("aria-label") for point in points)
        assert all(any(local(each) in {"use", "path"} for each in point.iter()) for point in points)
    ours = {(row["layer"], row["backend"], row["mode"]): row for row in rows("layers-cpu")}
    fastest = ours["se", "auto", "forward"]
    said = [point.get("aria-label") for point in plots["layers-forward"]]
    assert f"attnzoo: se, {fastest['macs'] / 1e6:.3g} M MACs, {fastest['median_us'] / 1e3:.3g} ms" in said


def test_every_layer_and_every_family_has_its_row(tree):
    layers = {row[0] for row in table(tree, "layers-all")}
    assert layers == {row["layer"].removeprefix("timm/") for row in rows("layers-cpu")}
    sweep = json.loads((RESULTS / "attach-sweep.json").read_text())
    families = table(tree, "attach-all")
    assert len(families) == len(sweep["models"])
    refused = [row for row in families if row[4].startswith("refused")]
    assert len(refused) == sum("block" in model["refused"] for model in sweep["models"]) > 0


def test_results_that_have_no_place_of_their_own_are_shown_too(tree):
    others = {path.stem for path in RESULTS.glob("*.json")} - set(KNOWN)
    assert others
    tables = {each.get("id") for each in tree.iter("table")}
    for name in others:
        assert any(key and key.startswith(f"others-{name}-") for key in tables), name


@pytest.mark.parametrize("absent", KNOWN)
def test_what_is_not_measured_names_its_command(absent: str, tmp_path: Path):
    for path in RESULTS.glob("*.json"):
        if path.stem != absent:
            (tmp_path / path.name).symlink_to(path)
    results = Results(tmp_path)
    blocks = [block for section in SECTIONS for block in section(results).blocks]
    named = {block.command for block in blocks if isinstance(block, Missing)}
    assert named == {command for name, (_, command) in KNOWN.items() if not (tmp_path / f"{name}.json").exists()}
    assert KNOWN[absent][1] in named


def test_a_folder_with_next_to_nothing_makes_a_page_that_says_so(tmp_path: Path):
    shutil.copy(RESULTS / "recorder.json", tmp_path)
    assert report("--results", tmp_path, "-o", tmp_path / "report.html").exit_code == 0
    tree = check((tmp_path / "report.html").read_text())
    said = {spoken(each) for each in with_class(tree, "missing")}
    assert said == {f"{what}: not measured yet. To measure it: {command}" for what, command in KNOWN.values()}
    assert table(tree, "others-recorder-rows")


def claim(verdict: str, **kwargs) -> dict:
    empty = {"mean": None, "deviation": None}
    row = {"paper": "TRA-Net", "claim": "masks help", "source": "Table 2", "printed": ["59.0", "49.9"], "score": "f1"}
    row |= {"compared": ["TRA-Net", "without"], "first": empty, "second": empty, "n": 0, "verdict": verdict}
    row |= {"difference": {**empty, "low": None, "high": None, "count": 0}, "remark": "", **kwargs}
    return row


def test_claims_are_shown_whether_they_hold_or_not(tmp_path: Path):
    first, second = {"mean": 0.612345, "deviation": 0.0123}, {"mean": 0.5, "deviation": 0.02}
    difference = {"mean": 0.112345, "deviation": 0.02, "low": 0.09, "high": 0.13, "count": 5}
    counted = {"ratio": 0.18, "at most": 0.5, "first": {"mean": 327859728, "deviation": 0.0}, "paper": "CEDNN"}
    claims = [
        claim("holds", first=first, second=second, difference=difference, n=5, remark="at 64 pixels"),
        claim("does not hold", printed=None),
        claim("undecided"),
        claim("holds", **counted),
    ]
    (tmp_path / "claims-small.json").write_text(json.dumps({"rule": {"confidence": 0.9}, "rows": claims}))
    shutil.copy(RESULTS / "layers-cpu.json", tmp_path)
    assert report("--results", tmp_path, "-o", tmp_path / "report.html").exit_code == 0
    tree = check((tmp_path / "report.html").read_text())
    one, two, three, four = table(tree, "claims-all")
    assert one[1:3] == ["masks help at 64 pixels", "59.0 : 49.9 Table 2"]
    assert one[5:] == ["0.6123 ± 0.012", "0.5 ± 0.02", "+0.112 +0.090 to +0.130", "5", "holds"]
    assert (two[2], two[7], two[9], three[9]) == ("- Table 2", "-", "does not hold", "undecided")
    assert four[5:8] == ["327,859,728", "-", "ratio 0.18 at most 0.5"]
    layers = {row[0]: row[10] for row in table(tree, "layers-all") if row[1] == "attnzoo"}
    assert layers["region_mask"] == "TRA-Net: 1 of 3 hold"
    assert layers["se"] == "CEDNN: 1 of 1 hold; TRA-Net: 1 of 3 hold"
    (tile,) = with_class(tree, "tile")
    assert spoken(tile) == "2 of 4 of the papers' claims hold on synthetic faces"


def test_capabilities_are_shown_cell_by_cell_and_why_one_does_not_pass(tmp_path: Path):
    cells = (("se", "export", "passes"), ("se", "vmap", "by design"), ("cbam", "export", "fails"))
    rows = [
        {"capability": capability, "subject": subject, "group": "layers", "outcome": said, "reason": f"for {said}"}
        for subject, capability, said in cells
    ]
    (tmp_path / "capabilities.json").write_text(json.dumps({"rows": rows}))
    exported = [{"group": "layers", "case": "se", "onnxruntime": 1e-7, "error": None}]
    (tmp_path / "export.json").write_text(json.dumps({"rows": exported}))
    assert report("--results", tmp_path, "-o", tmp_path / "report.html").exit_code == 0
    tree = check((tmp_path / "report.html").read_text())
    assert table(tree, "works-all") == [["se", "layers", "yes", "by design"], ["cbam", "layers", "no", "-"]]
    why = [["se", "vmap", "by design", "for by design"], ["cbam", "export", "fails", "for fails"]]
    assert table(tree, "works-why") == why
    assert table(tree, "export-all") == [["layers", "se", "1e-07", "-"]]
    (tile,) = with_class(tree, "tile")
    assert spoken(tile) == "1 of 3 cells of the capability table pass"


def test_markup_in_a_result_is_text(tmp_path: Path):
    row = {"layer": "<script>alert(1)</script>", "value": '"><img src=x onerror=alert(1)>'}
    (tmp_path / "mine.json").write_text(json.dumps({"command": "<b>", "rows": [row]}))
    assert report("--results", tmp_path, "-o", tmp_path / "report.html").exit_code == 0
    tree = check((tmp_path / "report.html").read_text())
    assert table(tree, "others-mine-rows") == [list(row.values())]
    assert len(list(tree.iter("script"))) == 1


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path):
    empty, spoilt, other = (tmp_path / name for name in ("empty", "spoilt", "other"))
    for folder in (empty, spoilt, other):
        folder.mkdir()
    (spoilt / "ledger.json").write_text('{"figures": [')
    (other / "ops-cpu.json").write_text('{"rows": [{"layer": "cbam"}]}')
    output, nowhere = tmp_path / "report.html", tmp_path / "nowhere"
    for arguments, sentence in (
        (["--results", nowhere], f"there is no folder of results at {nowhere}; name one by --results: "),
        (["--results", empty], f"the folder {empty} holds no result"),
        (["--results", spoilt], f"{spoilt / 'ledger.json'} is no result: "),
        (["--results", other], f"a result in {other} lacks what the report shows: KeyError "),
        (["-o", tmp_path / "report.txt"], f"the output {tmp_path / 'report.txt'} must end in .html"),
        (["-o", tmp_path / "no" / "x.html"], f"the output's folder {tmp_path / 'no'} does not exist"),
    ):
        result = report(*arguments, *([] if "-o" in arguments else ["-o", output]))
        assert result.exit_code == 2
        assert result.stderr.startswith(f"benchmarks.report: {sentence}"), result.stderr
        assert result.stderr.count("\n") == 1
    assert not output.exists()
