"""CK+: FACS pairs in scientific notation, sequences without one label or the other, and files that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference_models import data
from reference_models.data import PRESENT, FaceDataset, Labels
from tests.reference_models.data import trees


@pytest.fixture
def root(tmp_path):
    return trees.ck_plus(tmp_path)


def read(root):
    reading = data.read("ck+", root, incomplete=True)
    return {record.sequence: record for record in reading.records}, {
        (found.level, f"{found.path}: {found.text}") for found in reading.findings
    }


def test_the_peak_of_each_labelled_sequence(root):
    records, found = read(root)
    assert list(records) == ["S005/001", "S010/002", "S010/004", "S999/003"]
    first = records["S005/001"]
    assert first.image == "cohn-kanade-images/S005/001/S005_001_00000003.png"
    assert first.neutral == "cohn-kanade-images/S005/001/S005_001_00000001.png"
    assert (first.level(9), first.level(17), first.level(25), first.level(1)) == (4, PRESENT, 2, 0)
    assert [record.expression for record in records.values()] == ["disgust", None, "neutral", "surprise"]
    assert set(records["S010/004"].levels) == {0}
    assert records["S999/003"].units == ()
    assert ("note", "FACS/S999/003: there is no FACS file: the sequence has no action units") in found
    assert ("note", "FACS/S010/004/S010_004_00000003_facs.txt: is empty: every unit is taken as absent") in found
    errors = {said for level, said in found if level == "error"}
    assert errors == {"cohn-kanade-images: holds 4 sequences of 3 subjects; CK+ has 593 of 123"}


@pytest.mark.parametrize("threshold", [1, 3, 5])
def test_a_unit_that_nobody_scored_is_present_at_every_threshold(root, threshold):
    records, _ = read(root)
    dataset = FaceDataset(root, [records["S005/001"]], Labels.of_units([9, 17, 25, 1]), threshold=threshold)
    sample = dataset[0]
    assert sample.target.tolist() == [float(threshold <= 4), 1.0, float(threshold <= 2), 0.0]
    assert sample.levels.isnan().tolist() == [False, True, False, False]
    assert sample.levels[[0, 2, 3]].tolist() == [4, 2, 0]


def test_expressions_and_landmarks(root):
    records, _ = read(root)
    labels = Labels.of_expressions()
    chosen = [record for record in records.values() if record.expression in labels.names]
    dataset = FaceDataset(root, chosen, labels, landmarks=True)
    assert dataset.targets().tolist() == [labels.names.index(name) for name in ("disgust", "neutral", "surprise")]
    sample = dataset[0]
    assert sample.levels is None
    assert sample.target.dtype == torch.int64
    np.testing.assert_array_equal(sample.landmarks, [[30.0, point] for point in range(68)])
    with pytest.raises(ValueError, match=r"S010/002/3 shows None, which is none of expressions anger"):
        FaceDataset(root, list(records.values()), labels)
    with pytest.raises(ValueError, match=r"action units \[1\] were not coded in S999/003/3"):
        FaceDataset(root, list(records.values()), Labels.of_units([1]), threshold=1)


@pytest.mark.parametrize("line", ["9", "9 4 1", "9.5 1", "9 6", "0 1", "nine 1", "1e999 1", "__import__('os') 1"])
def test_a_damaged_facs_line_costs_the_sequence_its_units(root, line):
    path = root / "FACS/S010/002/S010_002_00000003_facs.txt"
    path.write_text(f"   1.0000000e+00   3.0000000e+00\n   {line}\n")
    records, found = read(root)
    assert "S010/002" not in records
    assert any(level == "error" and f"{path.name}: line 2 must be 'unit level'" in said for level, said in found)


@pytest.mark.parametrize("content", ["", "8", "-1", "1 2", "1\n2", "happy"])
def test_a_damaged_emotion_file(root, content):
    (root / "Emotion/S005/001/S005_001_00000003_emotion.txt").write_text(content)
    records, found = read(root)
    assert records["S005/001"].expression is None
    assert records["S005/001"].level(9) == 4
    assert any(level == "error" and "must hold one number from 0 to 7" in said for level, said in found)


def test_an_incomplete_sequence_is_not_taken_for_a_shorter_one(root):
    (root / "cohn-kanade-images/S005/001/S005_001_00000003.png").unlink()
    records, found = read(root)
    assert "S005/001" not in records
    assert any(
        "labels another frame than the peak, S005_001_00000002" in said for level, said in found if level == "error"
    )


def test_strange_files_and_empty_sequences(root):
    trees.picture(root / "cohn-kanade-images/S005/001/S010_002_00000009.png")
    trees.picture(root / "cohn-kanade-images/S005/001/copy of peak.png")
    (root / "cohn-kanade-images/S010/009").mkdir()
    records, found = read(root)
    assert records["S005/001"].frame == 3
    folder = "cohn-kanade-images/S005/001"
    assert ("error", f"{folder}/S010_002_00000009.png: its name is that of another sequence") in found
    assert ("note", f"{folder}/copy of peak.png: is no frame of the sequence and is left out") in found
    assert ("error", "cohn-kanade-images/S010/009: holds no frame") in found


def test_a_sequence_without_any_label_is_left_out(root):
    (root / "Emotion/S999/003/S999_003_00000003_emotion.txt").unlink()
    records, found = read(root)
    assert "S999/003" not in records
    assert ("note", "cohn-kanade-images/S999/003: has neither a FACS nor an emotion file and is left out") in found
