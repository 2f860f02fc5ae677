"""Landmark files: written by scipy, by hand, and damaged in every way."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from reference_models.data import DataError, FaceDataset, Labels, read
from reference_models.data.landmark_files import read_landmarks
from tests.reference_models.data import trees

POINTS = np.random.default_rng(3).uniform(0, 1024, (66, 2))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "u1"])
def test_what_scipy_writes_is_read(tmp_path, compressed, dtype):
    path = tmp_path / "SN001_0000_lm.mat"
    points = (POINTS % 256).astype(dtype)
    savemat(path, {"x": 3, "name": "pts", "pts": points, "z": np.zeros(9)}, do_compression=compressed)
    read_back = read_landmarks(path)
    assert read_back.dtype == np.float64
    np.testing.assert_array_equal(read_back, points)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_file_made_by_hand(tmp_path, order):
    """Five points stored as whole bytes, in the tag-by-tag layout of MATLAB's description of the format."""

    def element(kind, body):
        return struct.pack(f"{order}II", kind, len(body)) + body + b"\0" * (-len(body) % 8)

    flags = element(6, struct.pack(f"{order}II", 6, 0))
    name = struct.pack(f"{order}I", 3 << 16 | 1) + b"pts\0"
    numbers = element(2, bytes([1, 2, 3, 4, 5, 10, 20, 30, 40, 50]))
    matrix = element(14, flags + element(5, struct.pack(f"{order}ii", 5, 2)) + name + numbers)
    version = struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    path = tmp_path / "by hand.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + version + matrix)
    assert read_landmarks(path).tolist() == [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]]


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_read_or_named_and_nothing_else(tmp_path, compressed):
    draw = np.random.default_rng(5)
    path = tmp_path / "SN001_0000_lm.mat"
    savemat(path, {"pts": POINTS}, do_compression=compressed)
    whole = path.read_bytes()
    named = 0
    for trial in range(600):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            del damaged[int(draw.integers(1, len(whole))) :]
        for place in draw.integers(0, min(len(damaged), 220), 3):
            damaged[place] = int(draw.integers(256))
        path.write_bytes(damaged)
        try:
            assert read_landmarks(path).shape[1] == 2
        except DataError as error:
            named += path.name in str(error)
    assert named > 200


def test_what_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "bomb_lm.mat"
    savemat(path, {"pts": np.zeros((3_000_000, 2))}, do_compression=True)
    assert path.stat().st_size < 65_536
    with pytest.raises(DataError, match="larger than the 65,536 bytes that are unpacked"):
        read_landmarks(path)
    header = path.read_bytes()[:128]
    nested = zlib.compress(struct.pack("<II", 14, 0xFFFFFFF0) + bytes(64))
    path.write_bytes(header + struct.pack("<II", 15, len(nested)) + nested)
    with pytest.raises(DataError, match="cut off"):
        read_landmarks(path)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"points": POINTS}, "has no variable 'pts'"),
        ({"pts": np.zeros((66, 3))}, r"must hold 5, 49, 66 or 68 finite points, got shape \(66, 3\)"),
        ({"pts": np.zeros((64, 2))}, r"got shape \(64, 2\)"),
        ({"pts": np.full((66, 2), np.nan)}, "finite"),
        ({"pts": "run me"}, "has no variable 'pts' that is a real matrix"),
        ({"pts": np.zeros((66, 2), complex)}, "has no variable 'pts' that is a real matrix"),
        ({"pts": np.zeros((66, 2, 2))}, "has no variable 'pts' that is a real matrix"),
        ({"pts": {"x": 1}}, "has no variable 'pts' that is a real matrix"),
        ({"pts": np.array([1, "a", None], dtype=object)[:1]}, "has no variable 'pts' that is a real matrix"),
    ],
)
def test_other_variables(tmp_path, variables, message):
    path = tmp_path / "a_lm.mat"
    savemat(path, variables)
    with pytest.raises(DataError, match=message):
        read_landmarks(path)


@pytest.mark.parametrize("content", [b"", b"no matlab", b"\0" * 70_000], ids=["empty", "junk", "large"])
@pytest.mark.parametrize("suffix", ["mat", "txt"])
def test_other_content(tmp_path, content, suffix):
    path = tmp_path / f"a_lm.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a_lm\.{suffix}"):
        read_landmarks(path)


@pytest.mark.parametrize("line", ["1", "1 2 3", "a b", "1 nan", "__import__('os') 1", "1 ²"])
def test_text(tmp_path, line):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"   {x:.7e}   {y:.7e}" for x, y in POINTS) + "\n")
    np.testing.assert_allclose(read_landmarks(path), POINTS, rtol=1e-7)
    path.write_text("\n".join(["1, 2"] * 65 + [line]))
    with pytest.raises(DataError, match=r"a\.txt"):
        read_landmarks(path)


def test_missing_files_and_one_bad_file_among_good_ones(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_landmarks(tmp_path / "none.mat")
    root = trees.disfa(tmp_path, subjects=["SN001"])
    (root / "Landmark_Points/SN001/tmp_frame_lm/SN001_0000_lm.mat").write_bytes(b"")
    records = read("disfa", root, incomplete=True).records
    dataset = FaceDataset(root, records, Labels.of_units([1]), threshold=3, landmarks=True)
    with pytest.raises(DataError, match=r"SN001_0000_lm\.mat"):
        dataset[0]
    assert dataset[1].landmarks.shape == (66, 2)
