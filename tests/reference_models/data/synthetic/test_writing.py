"""Faces on a disk: the datasets' own readers read them, any number of processes writes the same, runs are completed."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.data import DataError, FaceDataset, read
from reference_models.data.landmark_files import read_landmarks
from reference_models.data.synthetic import LAYOUTS, plan, write
from reference_models.faces.images import read_image

SMALL = {"identities": 3, "frames": 3, "size": 40}


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_datasets_readers_read_what_was_planned(layout: str, tmp_path):
    done = write(tmp_path, layout, **{**SMALL, "identities": 6}, workers=1)
    reading = read(layout, tmp_path)
    shots = plan(LAYOUTS[layout].kind, identities=6, frames=3)
    assert not [finding for finding in reading.findings if finding.level == "error"]
    assert (done.rendered, done.kept) == (len(shots), 0)
    by_image = {LAYOUTS[layout].image(shot, 3): shot for shot in shots}
    for record in reading.records:
        shot = by_image[record.image]
        levels = {unit: level for unit, level in zip(record.units, record.levels, strict=True) if level}
        assert levels == {unit: level for unit, level in shot.levels.items() if unit in record.units and level}
        assert record.expression in {shot.expression, None}
        points = read_landmarks(tmp_path / LAYOUTS[layout].landmarks(shot, 3))
        np.testing.assert_allclose(points, shot.take(40).landmarks, atol=1e-4)
        if record.neutral is not None:
            assert not by_image[record.neutral].strengths
    expected = {"disfa+": 6 * 4, "ck+": 6 * 2, "raf-db": 6 * 3}[layout]
    assert len(reading.records) == expected
    data = FaceDataset(tmp_path, reading.records, reading.layout.labels, threshold=reading.layout.threshold)
    assert data[0].image.shape == (3, 40, 40)
    assert len(data.targets()) == expected


def test_png_holds_the_pixels_and_raf_db_keeps_persons_on_one_side(tmp_path):
    write(tmp_path / "ck", "ck-plus", **SMALL, workers=1)
    shot = plan("sequences", identities=3, frames=3)[-1]
    np.testing.assert_array_equal(read_image(tmp_path / "ck" / LAYOUTS["ck+"].image(shot, 3)), shot.take(40).image)
    sides = {(s.identity, "test" in LAYOUTS["raf-db"].image(s, 3)) for s in plan("portraits", identities=10, frames=3)}
    assert sides == {(identity, identity % 5 == 4) for identity in range(10)}


def test_two_processes_write_the_same_bytes_as_one_and_a_begun_run_is_completed(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    reports = []
    write(one, "disfa+", **SMALL, workers=1, report=lambda done, total: reports.append((done, total)))
    write(two, "disfa+", **SMALL, workers=2)
    whole = tree(one)
    assert tree(two) == whole
    assert reports == [(4, 12), (8, 12), (12, 12)]
    lost = sorted(path for path in two.rglob("*") if path.suffix in {".jpg", ".txt"})[::5]
    for path in lost:
        path.unlink()
    done = write(two, "disfa+", **SMALL, workers=1)
    assert 0 < done.rendered < done.kept + done.rendered == 12
    assert tree(two) == whole
    with pytest.raises(DataError, match="holds other faces"):
        write(two, "disfa+", **SMALL, seed=1)


def test_folders_of_others_and_impossible_numbers_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty and was not made by this command"):
        write(tmp_path, "disfa+", **SMALL)
    with pytest.raises(ValueError, match=r"layout must be one of disfa\+, ck\+, raf-db, got 'disfa'"):
        write(tmp_path / "new", "disfa", **SMALL)
    with pytest.raises(ValueError, match=r"identities must be at most 999 in the layout ck\+, got 1,000"):
        write(tmp_path / "new", "ck+", identities=1000, frames=1)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command(tmp_path):
    options = ["--identities", "1", "--frames", "1", "--size", "32", "--workers", "1"]
    sheet = tmp_path / "sheet.png"
    call = ["synth", "-o", str(tmp_path / "faces"), *options, "--sheet", str(sheet)]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "2 pictures rendered, 0 were there" in result.stdout
    assert read_image(sheet).shape == (120, 236, 3)
    assert "0 pictures rendered, 2 were there" in CliRunner().invoke(app, call).stdout
    for wrong, message in (
        (["synth", "-o", str(tmp_path), *options], "is not empty and was not made by this command"),
        (["synth", "-o", str(tmp_path / "x"), *options, "--style", "oil"], "style must be one of held-out, studio"),
        (["synth", "-o", str(tmp_path / "x"), *options, "--sheet", "x.jpg"], "must end in .png"),
        (["synth", "-o", str(sheet / "x"), *options], "Not a directory; the same command continues from here"),
    ):
        result = CliRunner().invoke(app, wrong)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1 or "rendering" in result.stderr
