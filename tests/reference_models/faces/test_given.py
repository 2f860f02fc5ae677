"""Landmarks that are known: the sets and their selections, files in the datasets' syntax, and no dlib in between."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import scipy.io

from reference_models.faces import mat_files, point_sets
from reference_models.faces.alignment import align_chip
from reference_models.faces.face import Face, NoFaceError, SeveralFacesError, decide
from reference_models.faces.given import GivenDetector, LandmarkError, read_points
from tests.reference_models import astronaut

POINTS = np.random.default_rng(2).uniform(50, 400, (68, 2))
DISFA = np.delete(POINTS, [60, 64], axis=0)


def ck_plus(points):
    """Return the text of a CK+ landmark file: blanks, scientific notation, seven digits."""
    return "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in points)


def test_each_set_is_a_selection_of_the_larger_ones():
    inner = POINTS[17:]
    expected = {
        68: POINTS,
        66: DISFA,
        49: np.delete(inner, [60 - 17, 64 - 17], axis=0),
        5: POINTS[[45, 42, 36, 39, 33]],
    }
    for source, points in expected.items():
        for target, selected in expected.items():
            if target <= source:
                np.testing.assert_array_equal(point_sets.select(points, target), selected)
                np.testing.assert_array_equal(points[list(point_sets.indices(source, target))], selected)
            else:
                with pytest.raises(ValueError, match=f"target must be at most the source's {source} points"):
                    point_sets.select(points, target)
    assert expected[49].shape == (49, 2)


def test_a_point_is_found_by_its_number_among_68():
    for count in (68, 66, 49):
        points = point_sets.select(POINTS, count)
        for number in (27, 30, 48, 54, 63, 67):
            np.testing.assert_array_equal(point_sets.point(points, number), POINTS[number])
    np.testing.assert_array_equal(point_sets.point(point_sets.select(POINTS, 5), 33), POINTS[33])
    with pytest.raises(ValueError, match="points must hold landmark 8, as 68 or 66 points do, got 49"):
        point_sets.point(point_sets.select(POINTS, 49), 8)
    with pytest.raises(ValueError, match=r"source must be one of 5, 49, 66, 68 points, got 7"):
        point_sets.indices(7, 5)


def test_forty_nine_points_make_a_chip_and_have_a_centre():
    points = astronaut.face().points
    chips = [align_chip(astronaut.photograph(), point_sets.select(points, count)) for count in (68, 66, 49)]
    for chip in chips[1:]:
        np.testing.assert_array_equal(chip.image, chips[0].image)
        assert chip.center_row == chips[0].center_row


FILES = {
    "ck+.txt": ck_plus(POINTS).encode(),
    "commas.csv": "\r\n".join(f"{x!r},{y!r}" for x, y in POINTS.tolist()).encode(),
    "ibug.pts": ("version: 1\nn_points: 68\n{\n" + ck_plus(POINTS) + "}\n").encode(),
}


def matlab(**variables) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables)
    return buffer.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_text_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    np.testing.assert_allclose(read_points(path), POINTS, rtol=1e-7)


def test_matlab_files_whatever_their_name(tmp_path):
    path = tmp_path / "l0001_lm.mat"
    path.write_bytes(matlab(pts=DISFA))
    read = read_points(path)
    np.testing.assert_array_equal(read, DISFA)
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read_points(path.rename(tmp_path / "l0001_lm.txt")), DISFA)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"must hold 5, 49, 66 or 68 finite points, got shape \(0, 2\)"),
        (ck_plus(POINTS[:67]).encode(), r"got shape \(67, 2\)"),
        (b"1 2\n3 4 5\n", "a line must hold x and y, got '3 4 5'"),
        (b"1 2\n3 x\n" * 33, "could not convert string to float"),
        (("1 2\n" * 67 + "nan 4\n").encode(), "finite points"),
        ("ä".encode(), "neither text nor a MATLAB 5 file"),
        (b"1 2\n" * 20_000, "more than the 65,536 bytes"),
        (b"__import__('os').system('exit')\n" * 68, "a line must hold x and y|could not convert"),
        (matlab(pts=DISFA)[:300], "cut off"),
        (matlab(names=np.array(["a"], dtype=object)), "no variable 'pts' that is a real matrix"),
        (matlab(a=DISFA), "no variable 'pts'"),
    ],
)
def test_files_that_hold_no_landmarks(tmp_path, data, message):
    path = tmp_path / "odd.txt"
    path.write_bytes(data)
    with pytest.raises(LandmarkError, match=message) as caught:
        read_points(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(LandmarkError, match=rf"{path} cannot be read"):
            read_points(path)


def test_the_given_face():
    (face,) = GivenDetector(astronaut.face().points).detect(astronaut.photograph())
    points = astronaut.face().points
    assert face.box == (*points.min(0), *points.max(0))
    assert face.score is None
    np.testing.assert_array_equal(face.points, points)
    with pytest.raises(LandmarkError, match=r"frame 3 does not belong to a photograph of 60 x 40 pixels"):
        GivenDetector(points, "frame 3").detect(np.zeros((40, 60), np.uint8))


def test_nothing_needs_dlib_where_points_are_known(tmp_path):
    """A new process in which dlib cannot be imported goes from DISFA's points to TRA-Net's frame and to maps."""
    path = tmp_path / "points.mat"
    path.write_bytes(matlab(pts=point_sets.select(astronaut.face().points, 66)))
    code = """
import sys
sys.modules["dlib"] = None
from skimage import data
from reference_models.faces.alignment import align_chip, align_tra_net
from reference_models.faces.difference import difference
from reference_models.faces.given import GivenDetector, read_points
(face,) = GivenDetector(read_points(sys.argv[1])).detect(data.astronaut())
chip = align_chip(data.astronaut(), face.points)
print(align_tra_net(data.astronaut(), face.points).center_row, difference(chip, chip).mask.sum())
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row, pixels = map(float, done.stdout.split())
    assert row == pytest.approx(112.0)
    assert pixels > 10_000


SMALL, LARGE = (Face((0.0, 0.0, side, side), POINTS, 1.0) for side in (10.0, 20.0))


@pytest.mark.parametrize(
    ("faces", "options", "face", "outcome"),
    [
        ([], {}, None, "no face"),
        ([SMALL], {"several": "raise", "no_face": "raise"}, SMALL, "one"),
        ([SMALL, LARGE], {}, LARGE, "largest"),
        ([SMALL, LARGE], {"several": "skip"}, None, "several"),
    ],
)
def test_the_policies(faces, options, face, outcome):
    choice = decide(faces, **options)
    assert choice.face is face
    assert choice.outcome == outcome


def test_policies_that_refuse_and_unknown_ones():
    with pytest.raises(NoFaceError, match=r"no face was found in a\.png"):
        decide([], no_face="raise", name="a.png")
    with pytest.raises(SeveralFacesError, match=r"2 faces were found in a\.png"):
        decide([SMALL, LARGE], several="raise", name="a.png")
    with pytest.raises(ValueError, match="no_face must be one of 'raise', 'skip', got 'largest'"):
        decide([SMALL], no_face="largest")
    with pytest.raises(ValueError, match="several must be one of"):
        decide([SMALL], several="first")


def test_the_limit_on_files_leaves_room():
    assert len(ck_plus(POINTS)) * 10 < mat_files.MAX_BYTES
