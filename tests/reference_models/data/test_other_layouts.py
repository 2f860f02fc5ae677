"""DISFA+, RAF-DB, Aff-Wild2 and AffectNet: their layouts, their oddities, their damage."""

from __future__ import annotations

import pytest

from reference_models import data
from reference_models.data import DataError, FaceDataset, Labels
from tests.reference_models.data import trees


def read(name, root, **options):
    reading = data.read(name, root, incomplete=True, **options)
    said = {level: set() for level in ("error", "note")}
    for found in reading.findings:
        said[found.level].add(f"{found.path}: {found.text}")
    return reading.records, said["error"], said["note"]


def test_disfa_plus(tmp_path):
    records, errors, notes = read("disfa+", trees.disfa_plus(tmp_path))
    assert (errors, notes) == (set(), set())
    assert len(records) == 9 * 2 * 3
    assert list(dict.fromkeys(record.subject for record in records)) == trees.DISFA_PLUS_SUBJECTS
    for record in records:
        assert record.levels == tuple(trees.disfa_plus_level(record.subject, u, record.frame) for u in record.units)
        assert record.neutral == f"Images/{record.sequence}/000.jpg"
    layout = data.layout("disfa+")
    assert (layout.threshold, len(layout.labels)) == (2, 12)
    dataset = FaceDataset(tmp_path, records, layout.labels, threshold=layout.threshold, neutral=True)
    assert dataset[1].target.tolist() == [float(level >= 2) for level in records[1].levels]
    assert dataset[1].neutral.shape == (3, 8, 12)


def test_a_trial_without_a_neutral_frame_takes_that_of_another(tmp_path):
    root = trees.disfa_plus(tmp_path)
    path = root / "Labels/SN003/A1_AU1_TrailNo_1/AU4.txt"
    path.write_text(path.read_text().replace(" 0\n", " 1\n"))
    records, errors, notes = read("disfa+", root)
    elsewhere = "Images/SN003/Y_HappyDescribed_TrailNo_2/000.jpg"
    assert errors == set()
    assert notes == {f"Labels/SN003/A1_AU1_TrailNo_1: no frame is neutral; {elsewhere} is taken"}
    assert {r.neutral for r in records if r.sequence == "SN003/A1_AU1_TrailNo_1"} == {elsewhere}


def test_damage_in_disfa_plus(tmp_path):
    root = trees.disfa_plus(tmp_path)
    trial = root / "Labels/SN009/A1_AU1_TrailNo_1"
    (trial / "AU1.txt").write_text("header\n000.jpg 0\n001.jpg 7\n001.jpg 2\n000.jpg 1\nanother header\n")
    (trial / "AU2.txt").write_text("only a header\n")
    (root / "Images/SN010/A1_AU1_TrailNo_1/001.jpg").unlink()
    records, errors, _ = read("disfa+", root)
    folder = "Labels/SN009/A1_AU1_TrailNo_1"
    wrong = "must be 'frame.jpg level' with a level from 0 to 5, got"
    assert errors == {
        f"{folder}/AU1.txt: line 3 {wrong} '001.jpg 7'",
        f"{folder}/AU1.txt: line 5 labels frame 000 a second time",
        f"{folder}/AU1.txt: line 6 {wrong} 'another header'",
        f"{folder}/AU2.txt: labels no frame",
        "Images/SN010/A1_AU1_TrailNo_1: 1 labelled frames have no picture: 1",
    }
    assert len(records) == 54 - 3 - 1


@pytest.mark.parametrize("pictures", ["aligned", "original"])
def test_raf_db_and_its_order_of_labels(tmp_path, pictures):
    records, errors, _ = read("raf-db", trees.raf_db(tmp_path), pictures=pictures)
    shown = {record.key: record.expression for record in records}
    assert shown == {
        "train/1": "sadness",
        "train/2": "surprise",
        "train/3": "neutral",
        "test/1": "anger",
        "test/2": "fear",
    }
    assert [record.split for record in records] == ["train"] * 3 + ["test"] * 2
    listed = "basic/EmoLabel/list_patition_label.txt"
    assert errors == {
        f"{listed}: 3 train pictures can be used; RAF-DB has 12,271",
        f"{listed}: 2 test pictures can be used; RAF-DB has 3,068",
    }
    labels = data.layout("raf-db").labels
    dataset = FaceDataset(tmp_path, records, labels)
    assert [labels.names[target] for target in dataset.targets()] == list(shown.values())
    assert dataset[0].image.shape == ((3, 100, 100) if pictures == "aligned" else (3, 120, 160))


def test_damage_in_raf_db(tmp_path):
    root = trees.raf_db(tmp_path) / "basic"
    (root / "Image/aligned/train_00002_aligned.jpg").unlink()
    listed = root / "EmoLabel/list_patition_label.txt"
    listed.write_text(listed.read_text() + "train_00001.jpg 3\ntrain_00004.jpg 8\n../../x.jpg 1\ntrain_1.jpg 1\n")
    records, errors, _ = read("raf-db", tmp_path)
    said = " ".join(sorted(errors))
    assert len(records) == 4
    assert "train_00002_aligned.jpg: the picture is missing" in said
    assert "line 6 lists train_00001.jpg a second time" in said
    for number, text in ((7, "train_00004.jpg 8"), (8, "../../x.jpg 1"), (9, "train_1.jpg 1")):
        assert f"line {number} must be 'train_00001.jpg 5' with a label from 1 to 7, got '{text}'" in said
    with pytest.raises(ValueError, match="pictures must be one of 'aligned', 'original', got 'cropped'"):
        data.read("raf-db", tmp_path, pictures="cropped")
    with pytest.raises(DataError, match="EmoLabel/list_patition_label"):
        data.read("raf-db", tmp_path / "basic/Image")


def test_aff_wild2(tmp_path):
    records, errors, notes = read("aff-wild2", trees.aff_wild2(tmp_path))
    assert errors == set()
    assert [(r.subject, r.frame, r.expression, r.split) for r in records] == [
        ("1-30-1280x720", 1, "neutral", "train"),
        ("1-30-1280x720", 2, "neutral", "train"),
        ("1-30-1280x720", 4, "happiness", "train"),
        ("1-30-1280x720", 6, "anger", "train"),
        ("6-30-1920x1080_left", 1, "disgust", "train"),
        ("6-30-1920x1080_left", 2, "fear", "train"),
        ("6-30-1920x1080_left", 3, "sadness", "train"),
        ("6-30-1920x1080_left", 4, "surprise", "train"),
        ("9-15-1920x1080", 1, "neutral", "validation"),
        ("9-15-1920x1080", 2, "anger", "validation"),
    ]
    assert notes == {
        "annotations/EXPR_Set/Training_Set/1-30-1280x720.txt: 1 frames with no label are left out",
        "cropped_aligned/1-30-1280x720: 1 labelled frames have no picture: 5",
    }
    labels = data.layout("aff-wild2").labels
    assert labels.names == ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    assert FaceDataset(tmp_path, records, labels).targets().tolist() == [6, 6, 3, 0, 1, 2, 4, 5, 6, 0]


def test_the_header_of_aff_wild2_is_believed(tmp_path):
    root = trees.aff_wild2(tmp_path)
    path = root / "annotations/EXPR_Set/Training_Set/6-30-1920x1080_left.txt"
    path.write_text("Anger,Neutral,Disgust,Fear,Happiness,Sadness,Surprise,Other\n0\n1\n7\n6\n")
    records, errors, notes = read("aff-wild2", root)
    assert errors == set()
    assert [r.expression for r in records if r.sequence == path.stem] == ["anger", "neutral", "surprise"]
    assert any("1 frames with other are left out" in said for said in notes)


def test_damage_in_aff_wild2(tmp_path):
    root = trees.aff_wild2(tmp_path)
    folder = root / "annotations/EXPR_Set/Training_Set"
    first = folder / "1-30-1280x720.txt"
    first.write_text(f"{trees.AFF_HEADER}\n0\n\n7\n4.0\n-2\n1\n")  # frame 2 is an empty line and moves nobody's label
    (folder / "6-30-1920x1080_left.txt").write_text("2\n3\n5\n6\n")
    third = folder / "9-15-1920x1080.txt"
    third.write_text(f"{trees.AFF_HEADER}\n0\n")
    (folder / "77-30-1280x720.txt").write_text(f"{trees.AFF_HEADER}\n0\n")
    records, errors, _ = read("aff-wild2", root)
    assert [(r.frame, r.expression) for r in records if r.sequence == first.stem] == [(1, "neutral"), (6, "anger")]
    name = "annotations/EXPR_Set/Training_Set"
    assert errors == {
        *(
            f"{name}/{first.name}: line {n} must be a number from -1 to 6, got {t!r}"
            for n, t in ((4, "7"), (5, "4.0"), (6, "-2"))
        ),
        f"{name}/6-30-1920x1080_left.txt: must begin with a header that names the seven expressions",
        f"{name.replace('Training', 'Validation')}/{third.name}: the video is among those for train too, and stays there",  # noqa: E501
        "cropped_aligned/77-30-1280x720: there is no folder with the video's pictures",
    }


def test_affect_net_crops_to_the_listed_box(tmp_path):
    records, errors, notes = read("affectnet", trees.affect_net(tmp_path))
    assert errors == set()
    assert notes == {"Manually_Annotated_file_lists/training.csv: 1 photographs with no face are left out"}
    assert [(r.expression, r.split) for r in records] == [
        ("anger", "train"),
        ("disgust", "train"),
        ("contempt", "train"),
        ("fear", "validation"),
    ]
    dataset = FaceDataset(tmp_path, records[:2], Labels.of_expressions())
    assert dataset[0].image.shape == (3, 5, 6)
    with pytest.raises(ValueError, match="shows contempt, which is none of"):
        FaceDataset(tmp_path, records, Labels.of_expressions())


def test_damage_in_affect_net(tmp_path):
    root = trees.affect_net(tmp_path)
    path = root / "Manually_Annotated_file_lists/training.csv"
    rows = [
        trees.affect_row("1/gone.jpg", 1),
        trees.affect_row("../../../etc/passwd", 1),
        trees.affect_row("1/a.jpg", 11),
        trees.affect_row("1/a.jpg", 1, box="2,1,0,5"),
        "1/a.jpg,1",
    ]
    path.write_text("\n".join([trees.AFFECT_COLUMNS, *rows]))
    records, errors, _ = read("affectnet", root)
    assert len(records) == 1
    said = "\n".join(errors)
    assert "line 3: a path must be relative to the root and stay inside it" in said
    assert "line 4 has the expression '11'" in said
    assert "line 5 has the expression '1' and the box ['2', '1', '0', '5']" in said
    assert "line 6 must have 9 fields, got 2" in said
    assert "2 listed photographs are missing" in said
