"""Datasets in their official layouts, prepared with their own landmarks and neutral frames, and read for training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.data import FaceDataset, Labels, read
from reference_models.faces.alignment import align_chip, align_tra_net
from reference_models.faces.difference import difference
from reference_models.faces.landmarks import choose, detect
from reference_models.faces.point_sets import select
from reference_models.preparation.items import PreparationError
from reference_models.preparation.pictures import PreparedPictures
from reference_models.preparation.plan import planned
from reference_models.preparation.preparation import Preparation
from reference_models.preparation.prepared import Prepared
from tests.reference_models.data import trees
from tests.reference_models.preparation.folders import small


def prepared(root, out, *options):
    arguments = ["prepare", str(root), "-o", str(out), "--workers", "1", *options]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return result.exit_code, result.stdout


def test_ck_plus_from_first_to_last_frames_maps(tmp_path):
    """CK+'s 68 points are read, the first frame of a sequence is its neutral one, and CEDNN's input comes out."""
    root = trees.ck_plus(tmp_path / "CK+")
    sequence = "cohn-kanade-images/S005/001/S005_001_0000000{}.png"
    points = {}
    for frame in (1, 3):
        Image.fromarray(small(frame - 1)).save(root / sequence.format(frame))
        marks = root / f"Landmarks/S005/001/S005_001_0000000{frame}_landmarks.txt"
        np.savetxt(marks, choose(detect(small(frame - 1))).points, fmt="%.7e")
        points[frame] = np.loadtxt(marks)
    code, said = prepared(root, tmp_path / "out", "--dataset", "ck+", "--neutral", "dataset", "--size", "96")
    assert code == 1  # the tree's other pictures are too small for their landmarks
    assert "does not belong to a photograph" in said
    pictures = PreparedPictures(tmp_path / "out", Preparation(size=96, difference=True))
    records = [record for record in read("ck+", root, incomplete=True).records if pictures.has(record)]
    assert {record.image for record in records} == {sequence.format(3)}
    labels = Labels.of_units([9, 17, 25])
    sample = FaceDataset(pictures, records, labels, threshold=1, neutral=True)[0]
    rest, action = (align_chip(small(frame - 1), points[frame], size=96) for frame in (1, 3))
    np.testing.assert_array_equal(sample.image.permute(1, 2, 0).numpy(), action.image)
    np.testing.assert_array_equal(sample.neutral.permute(1, 2, 0).numpy(), rest.image)
    np.testing.assert_array_equal(sample.maps.numpy(), difference(rest, action, relative=True).maps)
    assert sample.maps.any()
    absent = next(record for record in read("ck+", root, incomplete=True).records if not pictures.has(record))
    with pytest.raises(PreparationError, match=r"has no prepared face: .*does not belong"):
        pictures.image(absent)


def test_disfas_66_points_make_tra_nets_frames(tmp_path):
    root = trees.disfa(tmp_path / "DISFA", frames=2, subjects=["SN001"])
    points = select(choose(detect(small(0))).points, 66)
    for frame in (1, 2):
        Image.fromarray(small(0)).save(root / f"Images_RightCamera/SN001/{frame:05d}.png")
        savemat(root / f"Landmark_Points/SN001/tmp_frame_lm/SN001_{frame - 1:04d}_lm.mat", {"pts": points})
    code, said = prepared(root, tmp_path / "out", "--dataset", "disfa", "--for", "tra-net", "--size", "64")
    assert code == 1, said  # of DISFA's 27 subjects one is there
    faces = Prepared(tmp_path / "out")
    assert len(faces) == 2
    for name in faces:
        np.testing.assert_array_equal(faces[name].image, align_tra_net(small(0), points, size=64).image)
        assert faces[name].points.shape == (66, 2)
        assert faces[name].center_row == pytest.approx(32)
    plan = planned(root, tmp_path / "out", dataset="disfa", detect=True)
    assert [item.points for item in plan.items] == [None, None]


def own(root, *records):
    lines = [
        {"subject": "a", "sequence": "a", "frame": number, "units": [1], "levels": [0], **record}
        for number, record in enumerate(records, start=1)
    ]
    (root / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_frames_of_a_video_and_boxes(tmp_path):
    import cv2

    root = tmp_path / "own"
    root.mkdir()
    video = cv2.VideoWriter(str(root / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 160))
    for number in (0, 2, 4):
        video.write(np.ascontiguousarray(small(number)[..., ::-1]))
    video.release()
    Image.fromarray(np.hstack([np.zeros((160, 50, 3), np.uint8), small(0)])).save(root / "boxed.png")
    own(
        root,
        {"image": "a.avi", "frame": 1},
        {"image": "a.avi", "frame": 3, "neutral": "a.avi", "neutral_frame": 1},
        {"image": "boxed.png", "frame": 9, "box": [50, 0, 210, 160]},
    )
    options = ("--dataset", "own", "--neutral", "dataset", "--size", "64")
    code, said = prepared(root, tmp_path / "out", *options)
    assert code == 0, said
    faces = Prepared(tmp_path / "out")
    assert faces.names == ("a.avi/000001", "a.avi/000003", "boxed.png")
    aligned = align_chip(small(0), choose(detect(small(0))).points, size=64)
    np.testing.assert_array_equal(faces["boxed.png"].image, aligned.image)
    assert faces["a.avi/000003"].levels is not None
    assert faces["a.avi/000001"].levels is None
    assert np.abs(faces["a.avi/000001"].image.astype(int) - aligned.image).mean() < 12  # MJPEG loses something
    before = {name: faces[name].image for name in faces}
    code, said = prepared(root, tmp_path / "out", *options)
    assert code == 0
    assert ["of", "all,", "done", "by", "an", "earlier", "run", "3"] in [line.split() for line in said.splitlines()]
    assert all((Prepared(tmp_path / "out")[name].image == pixels).all() for name, pixels in before.items())


def test_two_labelled_faces_in_one_picture_are_refused(tmp_path):
    root = tmp_path
    Image.fromarray(small(0)).save(root / "a.png")
    own(root, {"image": "a.png", "box": [0, 0, 80, 160]}, {"image": "a.png", "box": [80, 0, 160, 160]})
    with pytest.raises(ValueError, match="shows more than one labelled face"):
        planned(root, tmp_path / "out", dataset="own")


def test_options_that_contradict_each_other(tmp_path):
    with pytest.raises(PreparationError, match="--neutral dataset needs --dataset"):
        planned(tmp_path, tmp_path / "out", neutral="dataset")
    with pytest.raises(ValueError, match="name must be one of"):
        planned(tmp_path, tmp_path / "out", dataset="fer2013")
