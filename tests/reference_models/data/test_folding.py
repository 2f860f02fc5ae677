"""``reference-models folds``: writes the manifest, says who is where."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.data import read, read_manifest
from tests.reference_models.data import trees


def folds(*arguments):
    return CliRunner().invoke(app, ["folds", *map(str, arguments)], env={"COLUMNS": "80"})


def test_the_manifest_of_disfa(tmp_path):
    root = trees.disfa(tmp_path / "DISFA")
    path = tmp_path / "disfa [3].json"
    result = folds("disfa", root, "-o", path)
    assert result.exit_code == 0, result.output
    manifest = read_manifest(path)
    manifest.check(read("disfa", root).records)
    assert (manifest.selection, manifest.threshold, len(manifest.labels)) == ("validation", 3, 8)
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])]
    assert rows == [
        [str(fold), side, subjects, frames]
        for fold in (1, 2, 3)
        for side, subjects, frames in (("train", "15", "60"), ("validation", "3", "12"), ("test", "9", "36"))
    ]
    assert f"{path}: {manifest.fingerprint}" in result.stdout
    assert folds("disfa", root, "-o", path, "--select-on-test", "--threshold", "2").exit_code == 0
    assert read_manifest(path).selection == "select-on-test"
    assert read_manifest(path).threshold == 2


def test_frames_without_the_papers_labels_are_left_out(tmp_path):
    root = trees.ck_plus(tmp_path / "CK+")
    path = tmp_path / "ck.json"
    assert "593" in folds("ck+", root, "-o", path).stderr
    assert not path.exists()
    result = folds("ck+", root, "--incomplete", "--count", "2", "-o", path, "--select-on-test")
    assert result.exit_code == 0, result.output
    assert read_manifest(path).frames == 3  # the fourth has no FACS file


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("disfa", ["-o", "absent/folds.json"], "cannot write absent/folds.json: No such file or directory"),
        ("raf-db", ["--threshold", "3", "--incomplete"], "threshold must not be given for expressions, got 3"),
        ("own", [], "has no paper's labels"),
        ("fer", [], "name must be one of"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, layout, options, message):
    make = {"disfa": trees.disfa, "raf-db": trees.raf_db}.get(layout)
    root = make(tmp_path) if make else tmp_path
    (root / "records.jsonl").touch()
    result = folds(layout, root, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
