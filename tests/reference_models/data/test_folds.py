"""Folds: nobody on two sides, what is printed is kept, and a manifest that says if anything changed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from reference_models.data import DataError, Labels, Record
from reference_models.data.folds import PRINTED, Fold, make_folds
from reference_models.data.manifest import make_manifest, read_manifest
from tests.reference_models.data import trees

LABELS = Labels.of_units((1, 12))


def frames(subjects, count=2, **values):
    return [
        Record(f"{s}/{n}.png", s, f"{s}/a", n, units=(1, 12), levels=(n % 6, 3), **values)
        for s in subjects
        for n in range(count)
    ]


DISFA = frames(trees.DISFA_SUBJECTS)


def check_exclusive(folds, records):
    for fold in folds:
        assert not fold.train & fold.validation
        assert not fold.train & fold.test
        assert not fold.validation & fold.test
        sides = [fold.side(records, side) for side in ("train", "validation", "test")]
        assert sum(map(len, sides)) == len(records)
        assert all(sides)


def test_disfa_is_18_to_9_three_ways_with_three_of_the_18_for_validation():
    folds = make_folds("disfa", DISFA)
    assert [(len(f.train), len(f.validation), len(f.test)) for f in folds] == [(15, 3, 9)] * 3
    check_exclusive(folds, DISFA)
    assert Counter(s for f in folds for s in f.test) == Counter(trees.DISFA_SUBJECTS)


def test_select_on_test_is_the_papers_way_and_has_to_be_asked_for():
    folds = make_folds("disfa", DISFA, selection="select-on-test")
    assert [(len(f.train), f.validation == f.test) for f in folds] == [(18, True)] * 3
    assert [f.test for f in folds] == [f.test for f in make_folds("disfa", DISFA)]
    with pytest.raises(ValueError, match="selection must be one of 'validation', 'select-on-test', got 'test'"):
        make_folds("disfa", DISFA, selection="test")


def test_disfa_plus_has_the_folds_that_cednn_prints():
    assert [set(part) for part in PRINTED["disfa+"]] == [
        {"SN027", "SN010", "SN007"},
        {"SN013", "SN025", "SN003"},
        {"SN009", "SN001", "SN004"},
    ]
    records = frames(trees.DISFA_PLUS_SUBJECTS)
    folds = make_folds("disfa+", records)
    assert [len(f.validation) for f in folds] == [1, 1, 1]
    check_exclusive(folds, records)


def test_ck_plus_is_drawn_by_subject_with_equal_numbers_of_frames():
    records = [record for n in range(123) for record in frames([f"S{n:03d}"], 1 + n % 9)]
    folds = make_folds("ck+", records)
    check_exclusive(folds, records)
    sizes = [len(f.side(records, "test")) for f in folds]
    assert max(sizes) - min(sizes) <= 1
    assert folds == make_folds("ck+", records[::-1])
    assert folds != make_folds("ck+", records, seed=1)
    assert len(make_folds("ck+", records, count=5)) == 5


def test_a_published_split_is_one_fold_and_pictures_of_nobody_known_are_divided_singly():
    train = [Record(f"{n}.jpg", "", "train", n, expression="fear", split="train") for n in range(60)]
    test = [Record(f"t{n}.jpg", "", "test", n, expression="fear", split="test") for n in range(9)]
    (fold,) = make_folds("raf-db", train + test)
    check_exclusive([fold], train + test)
    assert fold.side(train + test, "test") == test
    assert len(fold.side(train + test, "validation")) == 10
    (fold,) = make_folds("raf-db", train + test, selection="select-on-test")
    assert fold.side(train + test, "train") == train


def test_aff_wild2_is_scored_on_its_published_validation_set():
    train, held = frames(["a", "b", "c"], split="train"), frames(["d"], split="validation")
    (fold,) = make_folds("aff-wild2", train + held)
    assert fold.test == {"d"}
    assert len(fold.validation) == 1
    with pytest.raises(ValueError, match=r"subject on one published side, and \['a'\] are on two"):
        make_folds("aff-wild2", [*train, *held, replace(train[0], split="validation")])


@pytest.mark.parametrize(
    ("dataset", "records", "options", "message"),
    [
        ("disfa", DISFA[2:], {}, "need SN001, of whom there is no record"),
        ("disfa", [*DISFA, *frames(["SN014"])], {}, "do not say where SN014 belongs"),
        ("own", [], {}, "records must not be empty"),
        ("own", DISFA, {"count": 1}, "count must be from 2 to the number of subjects, 27, got 1"),
        ("own", DISFA, {"share": 0}, "share must be between 0 and 1, got 0"),
        ("own", frames("ab"), {"count": 2}, "at least two training subjects"),
        ("raf-db", frames(["a"], split="train"), {}, "a published training side and a validation or test side"),
    ],
)
def test_what_cannot_be_divided(dataset, records, options, message):
    with pytest.raises(ValueError, match=message):
        make_folds(dataset, records, **options)


@pytest.fixture
def manifest():
    return make_manifest("disfa", DISFA, LABELS, make_folds("disfa", DISFA), threshold=3)


def test_a_manifest_comes_back_and_its_hash_is_that_of_its_content(manifest, tmp_path):
    manifest.write(tmp_path / "folds.json")
    again = read_manifest(tmp_path / "folds.json")
    assert again == manifest
    assert again.fingerprint == manifest.fingerprint
    again.check(DISFA[::-1])
    assert [path.name for path in tmp_path.iterdir()] == ["folds.json"]
    others = [
        replace(manifest, threshold=2),
        replace(manifest, labels=Labels.of_units((12, 1))),
        make_manifest("disfa", DISFA, LABELS, make_folds("disfa", DISFA, seed=1), threshold=3),
        make_manifest("disfa", [*DISFA[1:], replace(DISFA[0], levels=(1, 3))], LABELS, manifest.folds, threshold=3),
    ]
    assert len({manifest.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_other_records_are_noticed(manifest):
    with pytest.raises(DataError, match="made of 54 frames, and here are 53"):
        manifest.check(DISFA[1:])
    with pytest.raises(DataError, match="other labels or paths"):
        manifest.check([replace(DISFA[0], levels=(5, 5)), *DISFA[1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 2}, "was changed after it was written"),
        ({"sha256": "0"}, "was changed after it was written"),
        ({"format": "other"}, "is no manifest of folds"),
        ({"folds": []}, "folds must not be empty"),
        ({"folds": [{"train": ["a"], "validation": ["b"]}]}, "is damaged"),
        ({"folds": [{"train": ["a"], "validation": ["b"], "test": ["a"]}]}, "fold 1 has a on two sides"),
        ({"folds": [{"train": ["a"], "validation": ["b"], "test": ["b"]}]}, "does not fit the selection 'validation'"),
        ({"folds": [{"train": [], "validation": ["b"], "test": ["a"]}]}, "fold 1 has an empty side"),
        ({"labels": {"task": "action units", "names": ["AU1", "AU1"]}}, "none twice"),
        ({"labels": 3}, "is damaged"),
    ],
)
def test_a_manifest_that_was_changed(manifest, tmp_path, change, message):
    path = tmp_path / "folds.json"
    manifest.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_what_is_no_manifest(tmp_path):
    for content in ("", "[]", "[" * 100_000, "no json"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(DataError, match=r"a\.json"):
            read_manifest(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "b.json")


def test_a_side_has_a_name():
    with pytest.raises(ValueError, match="side must be one of 'train', 'validation', 'test', got 'dev'"):
        Fold(frozenset("a"), frozenset("b"), frozenset("c")).side(DISFA, "dev")
