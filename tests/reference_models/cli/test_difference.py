"""``reference-models difference``: from two photographs to the sheet, and one sentence for what is wrong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.faces.alignment import align_chip
from reference_models.faces.difference import difference
from reference_models.figures.difference_sheet import draw_difference, unaligned_difference
from tests.reference_models import astronaut, expressions
from tests.reference_models.cli.test_app import flat, told


@pytest.fixture
def photographs(tmp_path):
    paths = (tmp_path / "at rest ü.png", tmp_path / "smile.png")
    for path, pixels in zip(paths, (astronaut.photograph(), expressions.moved_face()[0]), strict=True):
        Image.fromarray(pixels).save(path)
    return tuple(map(str, paths))


def test_two_photographs_become_a_sheet_and_arrays(photographs, tmp_path):
    sheet, arrays = tmp_path / "sheet.png", tmp_path / "maps.npz"
    result = CliRunner().invoke(app, ["difference", *photographs, "-o", str(sheet), "--arrays", str(arrays)])
    assert result.exit_code == 0, result.output
    with np.load(arrays) as saved:
        assert saved["maps"].shape == (5, 224, 224)
        assert saved["thresholds"].tolist() == [30, 35, 40, 45, 50]
        np.testing.assert_array_equal(saved["maps"][2], saved["levels"] >= 40)
        for threshold, plane in zip((30, 35, 40, 45, 50), saved["maps"], strict=True):
            assert f"{threshold}   {plane.sum():6,}".split() == next(
                line.split()[:2] for line in result.stdout.splitlines() if line.split()[:1] == [str(threshold)]
            )
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.width > 1500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at rest ü.png", "maps.npz", "sheet.png", "smile.png"]


def test_with_given_landmarks_the_frames_are_exactly_aligned(photographs, tmp_path):
    options = []
    for option, points in (
        ("--neutral-points", astronaut.face().points),
        ("--action-points", expressions.moved_face()[1]),
    ):
        path = tmp_path / f"{option}.txt"
        np.savetxt(path, points)
        options += [option, str(path)]
    arrays = tmp_path / "maps.npz"
    outputs = ["-o", str(tmp_path / "sheet.png"), "--arrays", str(arrays), "--size", "160", "--relative"]
    result = CliRunner().invoke(app, ["difference", *photographs, *outputs, *options])
    assert result.exit_code == 0, result.output
    frames = [
        align_chip(pixels, points, size=160)
        for pixels, points in (
            (astronaut.photograph(), astronaut.face().points),
            expressions.moved_face(),
        )
    ]
    with np.load(arrays) as saved:
        np.testing.assert_array_equal(saved["levels"], difference(*frames, relative=True).levels)


def test_the_picture_before_alignment_holds_the_shift():
    """A photograph that was only turned differs before alignment, and hardly after it."""
    turned, matrix = astronaut.turned(8.0, 1.0)
    points = astronaut.moved(matrix, astronaut.face().points)
    neutral = align_chip(astronaut.photograph(), astronaut.face().points)
    found = difference(neutral, align_chip(turned, points))
    before = unaligned_difference(neutral, turned)
    assert before.mean() > 10 * found.masked.mean()
    drawn = Image.open(io.BytesIO(draw_difference(found, action_photograph=turned, title="$x^$")))
    assert drawn.width > 1500


def test_what_is_wrong_is_told(photographs, tmp_path):
    neutral, action = photographs
    sheet = str(tmp_path / "sheet.png")
    assert "no face was found in " in told("difference", neutral, str(flat(tmp_path)), "-o", sheet)
    assert "absent.png does not exist" in told("difference", "absent.png", action, "-o", sheet)
    assert "must end in .png" in told("difference", neutral, action, "-o", str(tmp_path / "sheet.pdf"))
    assert "must end in .npz" in told("difference", neutral, action, "-o", sheet, "--arrays", "maps.mat")
    five = tmp_path / "five.txt"
    np.savetxt(five, astronaut.face().five)
    said = told("difference", neutral, action, "-o", sheet, "--action-points", str(five))
    assert "points must have shape (66 or 68, 2), got (5, 2)" in said
    assert not (tmp_path / "sheet.png").exists()
