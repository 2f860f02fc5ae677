"""Nobody is scored whom a network was trained on: model files know the persons, commands refuse an overlap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reference_models.cli.app import app
from reference_models.data.layouts import read
from reference_models.data.records import Record
from reference_models.data.synthetic import shown, write
from reference_models.data.tree import DataError
from reference_models.training.budgets import for_synthetic
from reference_models.training.fit import Hardware, fit
from reference_models.training.persons import KnownPersonsError, check_unknown, hashed
from reference_models.training.recipes import RECIPES
from reference_models.training.sources import Source
from reference_models.training.trained import read_model
from tests.reference_models.training.faces import sides

RECIPE = for_synthetic(RECIPES["lla-net"]).changed(image_size=32, batch_size=8, epochs=1)
SOURCE = Source(identities=12, frames=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(RECIPE, SOURCE.sides(RECIPE), folder, hardware=Hardware(accelerator="cpu"), progress=False, logs=False)
    return folder


def command(*arguments: object, cache: str | None = "--no-cache") -> Result:
    words = [*map(str, arguments), *([cache] if cache else [])]
    return CliRunner().invoke(app, words, env={"COLUMNS": "300"}, catch_exceptions=False)


def test_a_model_knows_the_persons_of_every_side_and_names_none(run: Path):
    for name in ("model.safetensors", "best.safetensors", "last.safetensors"):
        record = read_model(run / name).record
        assert {side: len(hashes) for side, hashes in record.persons.items()} == {
            "train": 7,
            "validation": 1,
            "test": 4,
        }
        assert {side: set(hashes) for side, hashes in record.persons.items()} == {
            side: set(hashes) for side, hashes in SOURCE.sides(RECIPE).persons.items()
        }
        assert record.source == SOURCE.plain()
        assert b"studio-0-0" not in (run / name).read_bytes()


def test_eval_and_quantize_score_the_test_side_of_the_run_by_default(run: Path, tmp_path: Path):
    result = command("eval", run, "-o", tmp_path / "scores.json")
    assert result.exit_code == 0, result.stderr
    result = command("quantize", run / "model.safetensors", "-o", tmp_path / "q.onnx", "--faces", "8")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("options", [("--identities", "24"), ("--fold", "2"), ("--identities", "18", "--frames", "2")])
def test_known_persons_are_refused(run: Path, tmp_path: Path, options: tuple[str, ...]):
    for arguments in (("eval", run), ("quantize", run / "model.safetensors", "-o", tmp_path / "q.onnx")):
        result = command(*arguments, *options)
        assert result.exit_code == 2
        assert "persons (or pictures) that would be scored" in result.stderr
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize("options", [("--data-seed", "4"), ("--style", "held-out")])
def test_new_persons_are_scored(run: Path, options: tuple[str, ...]):
    assert command("eval", run / "best.safetensors", *options).exit_code == 0


@pytest.mark.parametrize(("seed", "code"), [(0, 2), (4, 0)])
def test_a_folder_of_synthetic_faces_shows_persons_that_a_run_may_know(run: Path, tmp_path: Path, seed: int, code: int):
    """The same faces as `train` renders, under the names of a dataset's layout."""
    copy, prepared = tmp_path / "copy", tmp_path / "prepared"
    made = command(
        *["synth", "--layout", "raf-db", "--identities", "12", "--frames", "3", "--seed"], seed, "-o", copy, cache=None
    )
    assert made.exit_code == 0, made.stderr
    made = command(
        "prepare", copy, "-o", prepared, "--dataset", "raf-db", "--for", run / "model.safetensors", cache=None
    )
    assert made.exit_code == 0, made.stderr
    result = command("eval", run, "--data", "raf-db", "--root", copy, "--prepared", prepared)
    assert result.exit_code == code, result.stderr
    assert ("persons (or pictures) that would be scored" in result.stderr) == (code == 2)


def test_what_a_folder_was_made_of_is_read_or_refused(tmp_path: Path):
    write(tmp_path, "disfa+", identities=2, frames=1, size=32)
    said = shown(tmp_path)
    assert set(said.values()) == {"studio-0-0000", "studio-0-0001"}
    assert {record.image for record in read("disfa+", tmp_path).records} <= set(said)
    manifest = tmp_path / "synthetic.json"
    for text in ("", "{}", "[]", manifest.read_text().replace("synth 1", "synth 9")):
        manifest.write_text(text)
        with pytest.raises(DataError, match=r"synthetic\.json must be as 'reference-models synth' writes it"):
            shown(tmp_path)


def test_persons_of_two_sides_are_refused_wherever_sides_are_made():
    good = sides()
    with pytest.raises(KnownPersonsError, match=r"was trained on 2 of the 2 persons"):
        replace(good, train=good.test)
    with pytest.raises(KnownPersonsError, match=r"was chosen by 2 of the 2"):
        replace(good, validation=replace_records(good.validation, [*good.validation.records, *good.test.records]))
    with pytest.raises(ValueError, match="2 persons are both trained on and chosen by"):
        replace(good, train=good.validation)
    assert replace(good, validation=good.test).persons["validation"] == good.persons["test"]  # --select-on-test


def replace_records(dataset, records):
    return type(dataset)(
        dataset.pictures, records, dataset.labels, threshold=dataset.threshold, transform=dataset.transform
    )


def test_disfa_and_disfa_plus_show_the_same_people_and_other_datasets_do_not():
    records = [Record("a.png", "SN001", "SN001/1", 1)]
    assert hashed("disfa", records) == hashed("disfa+", records) != hashed("ck+", records)
    unknown = [Record("a.png", "", "train", 1), Record("b.png", "", "train", 2)]
    assert len(hashed("raf-db", unknown)) == 2  # nobody knows who: each picture counts


def test_who_chose_the_epoch_may_be_scored_only_on_the_runs_own_test_side():
    known = {"train": {"a"}, "validation": {"b"}, "test": {"c"}}
    with pytest.raises(KnownPersonsError, match="was chosen by 1 of the 2 persons"):
        check_unknown(known, {"b", "d"})
    check_unknown({**known, "test": {"b"}}, {"b"})
    check_unknown(known, {"c", "d"})
