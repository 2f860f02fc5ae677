"""DISFA: its layout and its oddities, each named with the path."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from reference_models import data
from reference_models.data import DataError, FaceDataset, Labels
from tests.reference_models.data import trees


def findings(reading, level):
    return [f"{found.path}: {found.text}" for found in reading.findings if found.level == level]


@pytest.fixture
def root(tmp_path):
    return trees.disfa(tmp_path / "my DISFA ü")


def small(folder, frames=4):
    return trees.disfa(folder, frames, ["SN001"])


def test_a_whole_copy_is_read_without_an_error(root):
    reading = data.read("disfa", root)
    assert reading.errors == 0
    assert len(reading.records) == 27 * 4
    assert [record.subject for record in reading.records[::4]] == trees.DISFA_SUBJECTS
    assert len({record.key for record in reading.records}) == 27 * 4
    for record in reading.records:
        assert record.units == trees.DISFA_UNITS
        assert record.levels == tuple(trees.disfa_level(record.subject, u, record.frame) for u in record.units)
        assert record.neutral == f"Images_RightCamera/{record.subject}/00002.png"
        assert record.expression is None


def test_landmarks_are_numbered_from_zero_and_bad_ones_are_not_used(root):
    records = {record.key: record for record in data.read("disfa", root).records}
    assert records["SN001/1"].landmarks == "Landmark_Points/SN001/tmp_frame_lm/SN001_0000_lm.mat"
    assert records["SN031/3"].landmarks == "Landmark_Points/SN031/tmp_frame_lm/l00002_lm.mat"
    without = {key for key, record in records.items() if record.landmarks is None}
    assert without == {"SN002/1", "SN002/3", "SN002/4", "SN010/2"}
    dataset = FaceDataset(
        root, [records["SN001/3"], records["SN002/1"]], Labels.of_units([1]), threshold=3, landmarks=True
    )
    np.testing.assert_array_equal(dataset[0].landmarks[:, 0], 3.0 + np.arange(66))
    assert dataset[1].landmarks is None


@pytest.mark.parametrize("threshold", [1, 2, 3, 5])
def test_samples(root, threshold):
    reading = data.read("disfa", root)
    labels = Labels.of_units((25, 1, 12))
    dataset = FaceDataset(root, reading.records, labels, threshold=threshold, neutral=True)
    record = reading.records[2]
    sample = dataset[2]
    expected = [trees.disfa_level("SN001", unit, 3) for unit in (25, 1, 12)]
    assert sample.levels.tolist() == expected
    assert sample.target.tolist() == [float(level >= threshold) for level in expected]
    assert sample.record is record
    assert sample.image.dtype == torch.uint8
    assert sample.image.shape == (3, 8, 12)
    assert sample.image[:, 0, 0].tolist() == [30, 15, 225]
    assert sample.neutral[:, 0, 0].tolist() == [20, 10, 235]
    assert torch.equal(dataset.targets()[2], sample.target)


def test_the_papers_labels_and_threshold_are_the_layouts():
    layout = data.layout("disfa")
    assert layout.labels.units == (1, 2, 4, 6, 9, 12, 25, 26)
    assert layout.threshold == 3


def test_a_missing_subject_is_an_error(tmp_path):
    small(tmp_path)
    with pytest.raises(DataError, match=r"SN002: the subject is missing and 25 more errors; see .* check-data disfa"):
        data.read("disfa", tmp_path)
    reading = data.read("disfa", tmp_path, incomplete=True)
    assert len(reading.records) == 4
    assert reading.errors == 26


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3;2", "line 3 must be 'frame,level' with a level from 0 to 5, got '3;2'"),
        ("3,6", "line 3 must be 'frame,level' with a level from 0 to 5, got '3,6'"),
        ("3,-1", "got '3,-1'"),
        ("2,1", "line 3 labels frame 2 a second time"),
        ("__import__('os').system('x')", "line 3 must be 'frame,level'"),
    ],
)
def test_a_damaged_line_is_named_and_its_frame_left_out(tmp_path, line, message):
    path = small(tmp_path) / "ActionUnit_Labels/SN001/SN001_au12.txt"
    lines = path.read_text().split("\n")
    lines[2] = line
    path.write_text("\n".join(lines))
    reading = data.read("disfa", tmp_path, incomplete=True)
    said = "\n".join(findings(reading, "error"))
    assert f"ActionUnit_Labels/SN001/SN001_au12.txt: {message}" in said or message in said
    assert "SN001: not every unit is labelled in frames 3" in said
    assert [record.frame for record in reading.records] == [1, 2, 4]


def test_missing_label_files_and_pictures(tmp_path):
    root = small(tmp_path)
    (root / "Images_RightCamera/SN001/00003.png").unlink()
    trees.picture(root / "Images_RightCamera/SN001/00009.png")
    reading = data.read("disfa", root, incomplete=True)
    assert "Images_RightCamera/SN001: 1 labelled frames have no picture: 3" in findings(reading, "error")
    assert "Images_RightCamera/SN001: 1 pictures have no label: 9" in findings(reading, "note")
    (root / "ActionUnit_Labels/SN001/SN001_au4.txt").unlink()
    (root / "ActionUnit_Labels/SN001/SN001_au5.txt").write_text("")
    reading = data.read("disfa", root, incomplete=True)
    said = "\n".join(findings(reading, "error"))
    assert "SN001_au4.txt: cannot be read: No such file" in said
    assert "SN001_au5.txt: is empty" in said
    assert reading.records == ()


def test_pictures_numbered_from_zero(tmp_path):
    root = small(tmp_path)
    folder = root / "Images_RightCamera/SN001"
    for frame in range(1, 5):
        (folder / f"{frame:05d}.png").rename(folder / f"frame {frame - 1}.png")
    reading = data.read("disfa", root, incomplete=True)
    assert [record.image.rpartition("/")[2] for record in reading.records] == [f"frame {n}.png" for n in range(4)]
    assert any("numbered from 0" in said for said in findings(reading, "note"))


def test_frames_come_out_of_the_video_if_nobody_took_them_out(tmp_path):
    root = small(tmp_path)
    (root / "Images_RightCamera").rename(root / "elsewhere")
    assert data.read("disfa", root, incomplete=True).records == ()
    (root / "Video_RightCamera").mkdir()
    path = root / "Video_RightCamera/RightVideoSN001_Comp.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (32, 24))
    for frame in range(1, 5):
        writer.write(np.full((24, 32, 3), (0, 0, 50 * frame), np.uint8))  # red, as OpenCV orders it
    writer.release()
    reading = data.read("disfa", root, incomplete=True)
    dataset = FaceDataset(root, reading.records, Labels.of_units([1]), threshold=3, neutral=True)
    assert len(dataset) == 4
    for index in (3, 0, 2):
        image = dataset[index].image
        assert image.shape == (3, 24, 32)
        assert abs(image[0].float().mean().item() - 50 * (index + 1)) < 6
        assert image[2].float().mean().item() < 20
    assert abs(dataset[0].neutral[0].float().mean().item() - 100) < 6
    path.write_bytes(b"no video")
    with pytest.raises(ValueError, match="is no video that can be read"):
        dataset[0]


def test_without_landmarks_and_without_a_list_of_bad_ones(tmp_path):
    root = small(tmp_path)
    (root / "bad_landmarks.txt").write_text("SN001 four\n")
    assert any(
        "bad_landmarks.txt: line 1" in said for said in findings(data.read("disfa", root, incomplete=True), "error")
    )
    (root / "bad_landmarks.txt").unlink()
    (root / "Landmark_Points").rename(root / "Points")
    said = findings(data.read("disfa", root, incomplete=True), "note")
    assert "bad_landmarks.txt: there is no list of bad landmarks: all are taken as right" in said
    assert "Landmark_Points/SN001/tmp_frame_lm: there are no landmarks" in said
