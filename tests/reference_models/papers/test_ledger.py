"""The papers' figures: every count to the last parameter, and what agrees with the print."""

from __future__ import annotations

import io
import json
import stat
from dataclasses import replace
from decimal import Decimal

import pytest
import torch
import torchvision
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

import attnzoo
from reference_models.cli.app import app
from reference_models.papers import ledger as module
from reference_models.papers.ledger import Figure, Subject, figures_of, ledger, subjects, totals
from reference_models.papers.ledger_report import as_record, notes, tables, write_json

PARAMETERS = {
    ("TRA-Net", "v1"): 76_237_692,
    ("TRA-Net", "v2"): 77_227_132,
    ("LLA-Net", "3x3"): 23_715_783,
    ("LLA-Net", "1x1"): 12_574_663,
    ("LLA-Net", "3x3, block level"): 23_715_783,
    ("LLA-Net", "plain ResNet-18"): 11_180_103,
    ("CEDNN", "res-L1M18"): 13_333_902,
    ("CEDNN", "res-L2M9"): 11_344_866,
    ("CEDNN", "res-L3M6"): 10_682_610,
    ("CEDNN", "res-L6M3"): 10_022_622,
    ("CEDNN", "res-L9M2"): 9_804_894,
    ("CEDNN", "res-L18M1"): 9_593_970,
    ("CEDNN", "dense-L1M18"): 14_218_422,
    ("CEDNN", "dense-L2M9"): 12_229_386,
    ("CEDNN", "dense-L3M6"): 11_567_130,
    ("CEDNN", "dense-L6M3"): 10_907_142,
    ("CEDNN", "dense-L9M2"): 10_689_414,
    ("CEDNN", "dense-L18M1"): 10_478_490,
    ("CEDNN", "res-L18M1, first SE"): 9_790_530,
    ("CEDNN's baselines", "ResNet-18"): 11_182_668,
    ("CEDNN's baselines", "DenseNet-121"): 6_966_156,
    ("CEDNN's baselines", "IGC-L24M2"): 572_988,
    ("DBA-Net", "vgg16_bn baseline"): 134_297_671,
    ("DBA-Net", "vgg16_bn aw_o_db"): 14_810_271,
    ("DBA-Net", "vgg16_bn dba"): 15_842_463,
    ("DBA-Net", "resnet101 baseline"): 42_514_503,
    ("DBA-Net", "resnet101 aw_o_db"): 43_227_447,
    ("DBA-Net", "resnet101 dba"): 49_191_223,
    ("DBA-Net", "densenet161 baseline"): 26_487_463,
    ("DBA-Net", "densenet161 aw_o_db"): 27_775_261,
    ("DBA-Net", "densenet161 dba"): 42_907_933,
}
OPERATIONS = {
    ("CEDNN", "res-L1M18", "thop-2019"): "1.1267",
    ("CEDNN", "res-L2M9", "thop-2019"): "0.6896",
    ("CEDNN", "res-L3M6", "thop-2019"): "0.5450",
    ("CEDNN", "res-L6M3", "thop-2019"): "0.4041",
    ("CEDNN", "res-L9M2", "thop-2019"): "0.3606",
    ("CEDNN", "res-L18M1", "thop-2019"): "0.3279",
    ("CEDNN", "dense-L1M18", "thop-2019"): "1.3218",
    ("CEDNN", "dense-L2M9", "thop-2019"): "0.8847",
    ("CEDNN", "dense-L3M6", "thop-2019"): "0.7401",
    ("CEDNN", "dense-L6M3", "thop-2019"): "0.5991",
    ("CEDNN", "dense-L9M2", "thop-2019"): "0.5557",
    ("CEDNN", "dense-L18M1", "thop-2019"): "0.5229",
    ("CEDNN", "res-L18M1, first SE", "thop-2019"): "0.3281",
    ("CEDNN", "res-L1M18", "fvcore"): "1.1054",
    ("CEDNN", "res-L3M6", "fvcore"): "0.5237",
    ("CEDNN", "res-L18M1", "fvcore"): "0.3065",
    ("CEDNN's baselines", "ResNet-18", "thop-2019"): "1.8235",
    ("CEDNN's baselines", "DenseNet-121", "thop-2019"): "2.8964",
    ("CEDNN's baselines", "IGC-L24M2", "thop-2019"): "0.8318",
    ("LLA-Net", "3x3", "products"): "3.6633",
    ("LLA-Net", "1x1", "products"): "2.0191",
    ("LLA-Net", "3x3, block level", "products"): "3.6633",
    ("LLA-Net", "plain ResNet-18", "products"): "1.8136",
}


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    return ledger()


def test_parameters_to_the_last_one(figures):
    assert {(f.network, f.variant): f.computed for f in figures if f.convention == "parameters"} == PARAMETERS


def test_operations_to_four_decimals(figures):
    computed = {
        (f.network, f.variant, f.convention): f"{f.computed / 1e9:.4f}" for f in figures if f.quantity == "operations"
    }
    assert computed == OPERATIONS


def test_trainable_parameters_of_tra_net(figures):
    assert [f.computed for f in figures if f.convention == "trainable"] == [75_986_956, 76_976_396]


def test_what_agrees_with_the_print(figures):
    assert totals(figures) == {
        ("TRA-Net", "early version, Conclusion"): (0, 1),
        ("CEDNN", "Table 6"): (23, 24),
        ("CEDNN", "Table 8"): (2, 2),
        ("CEDNN's baselines", "Table 6"): (6, 6),
        ("DBA-Net", "Table II"): (8, 9),
    }
    assert [(f.network, f.variant, f.paper, str(f.ours)) for f in figures if f.agrees is False] == [
        ("TRA-Net", "v1", "77", "76"),
        ("CEDNN", "res-L3M6", "0.54", "0.55"),
        ("DBA-Net", "vgg16_bn dba", "15.94", "15.84"),
    ]


def test_what_does_not_agree_has_a_reason_and_what_agrees_needs_none(figures):
    assert all(bool(figure.reason) is (figure.agrees is not True) for figure in figures)


def test_tra_net_is_within_one_per_cent_of_around_77_million(figures):
    assert all(abs(PARAMETERS["TRA-Net", version] / 77e6 - 1) < 0.01 for version in ("v1", "v2"))


def test_reason_of_the_vgg_figure_a_fifth_tap_would_give_it():
    with torch.device("meta"):
        features = torchvision.models.vgg16_bn().features
        head = attnzoo.DenselyBackwardAttention([64, 128, 256, 512, 512])
        classifier = nn.Linear(64 + 128 + 256 + 512 + 512, 7)
    count = sum(parameter.numel() for part in (features, head, classifier) for parameter in part.parameters())
    assert count == 15_937_699
    assert f"{count / 1e6:.2f}" == "15.94"


FIGURE = Figure(
    network="n",
    variant="v",
    quantity="parameters",
    convention="parameters",
    source="s",
    paper="1.23",
    computed=1_234_999,
)


@pytest.mark.parametrize(
    ("paper", "computed", "ours", "agrees"),
    [
        ("1.23", 1_234_999, "1.23", True),
        ("1.23", 1_235_000, "1.24", False),  # half goes up, not to even
        ("1.24", 1_245_000, "1.25", False),
        ("9.8", 9_804_894, "9.8", True),
        ("9.80", 9_804_894, "9.80", True),
        ("77", 76_500_000, "77", True),
        ("0.60", 599_148, "0.60", True),
        (None, 76_237_692, "76.2377", None),
    ],
)
def test_agreement_is_by_the_decimals_in_print(paper, computed, ours, agrees):
    figure = replace(FIGURE, paper=paper, computed=computed)
    assert (str(figure.ours), figure.agrees) == (ours, agrees)


def test_operations_are_in_billions():
    assert replace(FIGURE, quantity="operations", paper="0.33", computed=327_859_728).ours == Decimal("0.33")


def test_progress_names_every_network(monkeypatch):
    first = list(subjects())[2:4]
    monkeypatch.setattr(module, "subjects", lambda: iter(first))
    seen = []
    ledger(lambda *state: seen.append(state))
    assert seen == [(0, 2, "LLA-Net 3x3"), (1, 2, "LLA-Net 1x1")]


def test_counting_leaves_the_default_device_alone():
    figures_of(next(subjects()))
    assert torch.zeros(1).device.type == "cpu"


def test_tables_fit_80_characters_and_hold_every_figure(figures):
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables(figures):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    for figure in figures:
        assert f" {figure.computed:,} " in text
    assert sum(table.row_count for table in tables(figures)) == len(figures)
    assert text.count("differs ") == 3


def test_notes_number_the_reasons_and_give_the_totals(figures):
    lines = notes(figures)
    assert lines[0].startswith("1  the text says 'around 77M'")
    assert "CEDNN, Table 6: 23 of 24 agree" in lines
    assert "DBA-Net, Table II: 8 of 9 agree" in lines


def test_record_is_json_of_every_figure(figures, tmp_path):
    path = tmp_path / "ledger.json"
    write_json(figures, path)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record == as_record(figures)
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"network": "CEDNN", "source": "Table 6", "agree": 23, "printed": 24} in record["totals"]
    vgg = next(each for each in record["figures"] if each["variant"] == "vgg16_bn dba")
    assert (vgg["paper"], vgg["ours"], vgg["unit"], vgg["agrees"]) == ("15.94", "15.84", "M", False)
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json([replace(FIGURE, computed=1, reason=b"no text")], path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def two_subjects(monkeypatch) -> list[Subject]:
    some = [each for each in subjects() if each.variant in {"vgg16_bn dba", "IGC-L24M2"}]
    monkeypatch.setattr(module, "subjects", lambda: iter(some))
    return some


def run(*arguments: str):
    return CliRunner().invoke(app, ["ledger", *arguments], env={"COLUMNS": "80"}, catch_exceptions=False)


def test_command_prints_the_tables_and_writes_the_file(two_subjects, tmp_path):
    path = tmp_path / "figures.json"
    result = run("--json", str(path))
    assert result.exit_code == 0
    assert "DBA-Net, Table II: 0 of 1 agree" in result.stdout
    assert "15.94 M 15.84 M 15,842,463 differs 1" in " ".join(result.stdout.split())
    assert len(json.loads(path.read_text(encoding="utf-8"))["figures"]) == 3


def test_command_refuses_a_missing_directory_before_it_counts(two_subjects, tmp_path):
    result = run("--json", str(tmp_path / "none" / "figures.json"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("reference-models: --json must name a file in an existing directory")


def test_command_says_when_the_file_cannot_be_written(two_subjects, tmp_path):
    result = run("--json", str(tmp_path))
    assert result.exit_code == 2
    assert "reference-models: cannot write" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.parent.glob(f"{tmp_path.name}*")) == [tmp_path]
