"""Data of one's own: written, read back, and every field checked; no path leads out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reference_models import data
from reference_models.data import DataError, Record, own
from reference_models.data.dataset import FaceDataset
from reference_models.data.labels import Labels
from reference_models.data.tree import inside
from tests.reference_models.data import trees

REST = Record("anna/rest.png", "anna", "anna", 1, units=(1, 12), levels=(0, 0))
SMILE = Record(
    "anna/ü smile.png",
    "anna",
    "anna",
    2,
    units=(1, 12),
    levels=(0, -1),
    expression="happiness",
    split="train",
    neutral="anna/rest.png",
    box=(1, 1, 9, 7),
)


@pytest.fixture
def root(tmp_path):
    for record in (REST, SMILE):
        trees.picture(tmp_path / record.image)
    return tmp_path


def test_records_come_back_as_they_were(root):
    own.write([REST, SMILE], root)
    reading = data.read("own", root)
    assert reading.records == (REST, SMILE)
    assert reading.errors == 0
    sample = FaceDataset(root, reading.records, Labels.of_units([12]), threshold=5)[1]
    assert sample.image.shape == (3, 6, 8)
    assert sample.target.tolist() == [1.0]


OUTSIDE = ["../x.png", "a/../../x.png", "/etc/passwd", "C:\\x.png", "C:x.png", "\\\\server\\x", "..\\x.png", "", "a\0b"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_root(root, path):
    with pytest.raises(DataError, match="must be relative to the root and stay inside it"):
        inside(root, path)
    for name in ("image", "neutral", "landmarks"):
        changed = replace(SMILE, **{name: path})
        with pytest.raises(DataError, match="stay inside it"):
            own.write([changed], root)
        (root / own.FILE).write_text(json.dumps({**plain(), name: path}))
        with pytest.raises(DataError, match="line 1: a path must be relative to the root"):
            data.read("own", root)
    dataset = FaceDataset(root, [replace(REST, image=path)], Labels.of_units([12]), threshold=1)
    with pytest.raises(DataError, match="stay inside it"):
        dataset[0]


def plain(**changes):
    return {
        "image": "anna/rest.png",
        "subject": "anna",
        "sequence": "anna",
        "frame": 1,
        "units": [1, 12],
        "levels": [0, 0],
        **changes,
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("[]", "a record must be an object"),
        ("{}", "a record must have image, subject, sequence, frame"),
        ("{", "line 1: "),
        ("[" * 50_000, "line 1: "),
        ({"smile": 1}, "a record has no smile"),
        ({"image": 3}, "image must be a text, got 3"),
        ({"frame": 1.5}, "frame must be a whole number, got 1.5"),
        ({"frame": True}, "frame must be a whole number, got True"),
        ({"levels": "00"}, "levels must be a list of whole numbers, got '00'"),
        ({"levels": [0]}, "units must be different and as many as levels"),
        ({"units": [1, 1]}, "units must be different and as many as levels"),
        ({"levels": [0, 6]}, r"levels must be 0 to 5, or -1 for present, got \[6\]"),
        ({"expression": "joy"}, "expression must be one of anger, contempt, .*, got 'joy'"),
        ({"split": "dev"}, "split must be one of train, validation, test, got 'dev'"),
        ({"box": [1, 2, 3]}, "box must be left, top, right, bottom"),
        ({"neutral": "anna/gone.png"}, "anna/gone.png is missing"),
    ],
)
def test_a_line_that_is_wrong_is_named(root, record, message):
    line = record if isinstance(record, str) else json.dumps(plain(**record))
    (root / own.FILE).write_text(f"{line}\n{json.dumps(plain(frame=7))}\n")
    with pytest.raises(DataError, match=message):
        data.read("own", root)
    assert [each.frame for each in data.read("own", root, incomplete=True).records] == [7]


def test_a_second_record_of_a_frame(root):
    own.write([REST, REST], root)
    with pytest.raises(DataError, match="line 2 is a second record of anna/1"):
        data.read("own", root)
