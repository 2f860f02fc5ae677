"""Preparation as it is used: odd files, resuming, kills, and in the end the same bytes however they came about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from reference_models.cli.app import app
from reference_models.faces.alignment import align_chip, align_tra_net, crop
from reference_models.faces.difference import difference
from reference_models.faces.images import read_image
from reference_models.faces.landmarks import choose, detect
from reference_models.faces.mtcnn import MtcnnDetector
from reference_models.preparation.items import Item, PreparationError, scan, with_first_as_neutral
from reference_models.preparation.preparation import PREPARATIONS, SEARCHES, Preparation, Search
from reference_models.preparation.prepared import Prepared
from reference_models.preparation.run import prepare
from reference_models.preparation.store import JOURNAL, MANIFEST, inside
from tests.reference_models.cli.test_app import told
from tests.reference_models.faces.test_images import png_that_claims
from tests.reference_models.preparation.folders import contents, fill, small

CHIP = Preparation(size=96)


def items(root: Path) -> list[Item]:
    return [Item(image) for image in scan(root).images]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    fill(folder, 6)
    return folder


@pytest.fixture(scope="module")
def prepared(root, tmp_path_factory) -> Path:
    """Return the results of one uninterrupted run with differences, by one process."""
    out = tmp_path_factory.mktemp("results") / "out"
    report = prepare(root, out, with_first_as_neutral(items(root)), Preparation(size=96, difference=True))
    assert report.outcomes == {"one": 6}
    assert report.kept == 0
    return out


def test_the_results_are_what_the_library_gives(root, prepared):
    faces = Prepared(prepared)
    assert faces.names == tuple(scan(root).images)
    for name in faces.names[:4]:
        neutral = name.replace("ü 1", "ü 0")
        aligned, rest = (
            align_chip(image, choose(detect(image)).points, size=96)
            for image in (read_image(root / name), read_image(root / neutral))
        )
        face = faces[name]
        np.testing.assert_array_equal(face.image, aligned.image)
        np.testing.assert_array_equal(face.points, aligned.points)
        np.testing.assert_array_equal(face.transform, aligned.transform)
        assert face.center_row == aligned.center_row
        expected = difference(rest, aligned, relative=True)
        np.testing.assert_array_equal(face.levels, expected.levels)
        np.testing.assert_array_equal(Preparation().maps(face.levels), expected.maps)
        assert expected.maps.any() == (name != neutral)


def test_two_processes_write_the_same_bytes(root, prepared, tmp_path):
    prepare(
        root, tmp_path / "out", with_first_as_neutral(items(root)), Preparation(size=96, difference=True), workers=2
    )
    assert contents(tmp_path / "out") == contents(prepared)


def journal_length(out: Path) -> int:
    try:
        return (out / JOURNAL).read_bytes().count(b"\n") - 1
    except FileNotFoundError:
        return 0


def children(process: int) -> set[int]:
    """Return the processes under one, by Linux's own account."""
    try:
        direct = {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}
    except OSError:
        return set()
    return direct.union(*map(children, direct))


def runs(process: int) -> bool:
    """Return whether a process runs; one that has ended and whose parent has not asked for its exit code does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_killed_twice_and_resumed_it_writes_the_same_bytes_and_leaves_no_process(tmp_path):
    root, out = tmp_path / "photographs", tmp_path / "out"
    fill(root, 30)
    prepare(root, tmp_path / "whole", with_first_as_neutral(items(root)), Preparation(difference=True), workers=2)
    program = Path(sys.executable).with_name("reference-models")
    command = [program, "prepare", root, "-o", out, "--neutral", "first", "--workers", "2"]
    draw = np.random.default_rng(5)
    done = 0
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        target = done + int(draw.integers(1, 8))
        while journal_length(out) < target and process.poll() is None:
            time.sleep(0.005)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for _ in range(1000):
            if not any(map(runs, workers)):
                break
            time.sleep(0.02)
        assert not [worker for worker in workers if runs(worker)]
        assert target <= journal_length(out) < 30
        assert not (out / MANIFEST).exists()
        done = journal_length(out)
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "99"})
    assert finished.returncode == 0, finished.stderr
    assert f"of all, done by an earlier run   {done}".split() in [line.split() for line in finished.stdout.splitlines()]
    assert contents(out) == contents(tmp_path / "whole")


def test_a_process_that_dies_takes_nothing_with_it(root, prepared, tmp_path):
    killed = []

    def kill_one(report):
        if not killed:
            killed.append(next(pid for pid in children(os.getpid()) if is_worker(pid)))
            os.kill(killed[0], signal.SIGKILL)

    whole = with_first_as_neutral(items(root))
    prepare(root, tmp_path / "out", whole, Preparation(size=96, difference=True), workers=1, advanced=kill_one)
    assert killed
    assert contents(tmp_path / "out") == contents(prepared)


def is_worker(pid: int) -> bool:
    """Return whether a process is one that the forkserver made: it has a forkserver above it and none below."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return b"forkserver" in command and b"forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()


@pytest.fixture
def copied(root, prepared, tmp_path):
    """Return photographs and results of their own, for a test that changes them."""
    for folder, target in ((root, "photographs"), (prepared, "out")):
        for name, data in contents(folder).items():
            path = tmp_path / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return tmp_path / "photographs", tmp_path / "out"


def run(root: Path, out: Path):
    return prepare(root, out, with_first_as_neutral(items(root)), Preparation(size=96, difference=True))


def test_a_second_run_does_what_has_changed_and_nothing_else(copied, prepared):
    root, out = copied
    first, second, third, fourth, *_ = scan(root).images
    assert run(root, out).kept == 6
    assert contents(out) == contents(prepared)

    (out / f"faces/{third}.png").write_bytes(b"damaged")
    (out / f"levels/{fourth}.png").unlink()
    assert run(root, out).kept == 4
    assert contents(out) == contents(prepared)

    Image.fromarray(small(9)).save(root / first)  # also the neutral frame of the second
    report = run(root, out)
    assert report.kept == 4
    assert Preparation().maps(Prepared(out)[second].levels).any()
    assert contents(out).keys() == contents(prepared).keys()
    assert contents(out) != contents(prepared)

    (root / second).unlink()
    Image.new("RGB", (50, 50)).save(root / first)
    report = run(root, out)
    assert report.outcomes == {"one": 4, "no face": 1}
    assert not [name for name in contents(out) if second in name or first in name]


def test_results_of_another_recipe_are_not_replaced_unasked(copied):
    root, out = copied
    before = contents(out)
    with pytest.raises(PreparationError, match=r"size: 96 there, 64 here.*--redo"):
        prepare(root, out, items(root), Preparation(size=64, difference=True))
    with pytest.raises(PreparationError, match="is not empty and holds no preparation"):
        prepare(root, root, items(root), CHIP)
    assert contents(out) == before
    assert prepare(root, out, items(root), Preparation(size=64), redo=True).kept == 0
    assert Prepared(out)[scan(root).images[0]].image.shape == (64, 64, 3)
    assert not [name for name in contents(out) if name.startswith("levels/")]


def test_a_torn_journal_is_read_up_to_its_tear(root, prepared, tmp_path):
    """What a kill in the middle of a line leaves: a journal whose end is missing, and no manifest."""
    out = tmp_path / "out"
    for name, data in contents(prepared).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    manifest = json.loads((out / MANIFEST).read_bytes())
    (out / MANIFEST).unlink()
    lines = [json.dumps({"identity": manifest["identity"]})]
    lines += [json.dumps({"name": name, "entry": entry}) for name, entry in manifest["entries"].items()]
    (out / JOURNAL).write_text("\n".join(lines[:4]) + "\n" + lines[4][:50])
    with pytest.raises(PreparationError, match="is not finished"):
        Prepared(out)
    assert run(root, out).kept == 3
    assert contents(out) == contents(prepared)


@pytest.mark.parametrize("name", ["../../victim.png", "/etc/victim.png", "link/victim.png", "a\\..\\b.png", "", "."])
def test_no_name_leads_out_of_the_folder(copied, tmp_path, name):
    root, out = copied
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PreparationError, match=r"is no path under|leads out of"):
        inside(out, name)
    manifest = json.loads((out / MANIFEST).read_bytes())
    entry = next(iter(manifest["entries"].values()))
    entry["files"] = {name: "0" * 64}
    (out / MANIFEST).write_text(json.dumps(manifest))
    for read in (lambda: Prepared(out), lambda: run(root, out)):
        with pytest.raises(PreparationError):
            read()


def test_a_manifest_names_no_file_of_another_kind(copied):
    root, out = copied
    manifest = json.loads((out / MANIFEST).read_bytes())
    next(iter(manifest["entries"].values()))["files"] = {"manifest.json": "0" * 64}
    (out / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(PreparationError, match=r"has the file 'manifest\.json'"):
        run(root, out)
    (out / MANIFEST).write_text('{"identity": {}}')
    with pytest.raises(PreparationError, match="damaged manifest"):
        Prepared(out)


def odd_files(root: Path) -> None:
    """Write files that decode, under odd names and in odd forms, and files that do not."""
    face = Image.fromarray(small(0))
    (root / "Übung 1 [x]").mkdir(parents=True)
    face.save(root / "Übung 1 [x]" / "ein Gesicht 字.png")
    face.convert("CMYK").save(root / "cmyk.jpg", quality=95)
    Image.fromarray(small(0).mean(2).astype(np.uint16) * 257).save(root / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    face.rotate(90, expand=True).save(root / "turned.jpg", exif=exif, quality=95)
    face.save(root / "whole.jpg")
    data = (root / "whole.jpg").read_bytes()
    (root / "whole.jpg").unlink()
    (root / "corrupt.jpg").write_bytes(data[: len(data) // 2])
    (root / "zero.jpg").touch()
    (root / "text.png").write_text("no picture")
    (root / "bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.png")
    Image.new("RGB", (80, 80)).save(root / "empty.png")


def test_odd_files_are_prepared_or_reported_with_their_paths(tmp_path):
    root, out = tmp_path / "photo graphs", tmp_path / "out"
    odd_files(root)
    arguments = ["prepare", str(root), "-o", str(out), "--for", "tra-net", "--workers", "1"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 1, result.output
    faces = Prepared(out)
    assert set(faces.names) == {"Übung 1 [x]/ein Gesicht 字.png", "cmyk.jpg", "sixteen.png", "turned.jpg"}
    upright = align_tra_net(small(0), choose(detect(small(0))).points)
    for name in faces.names:
        assert np.abs(faces[name].points - upright.points).mean() < 5, name
        assert abs(faces[name].image.astype(int).mean() - upright.image.mean()) < 25, name
    expected = {
        "corrupt.jpg": "cannot be decoded",
        "zero.jpg": "is empty",
        "text.png": "is no image in a known format",
        "bomb.png": "more than the 64,000,000",
        "loop": "is a link that leads back to a folder above it",
        "pipe.png": "is no regular file",
    }
    assert set(faces.failures) == set(expected)
    for name, reason in expected.items():
        assert reason in faces.failures[name]
        assert f"failed {name}: {faces.failures[name]}" in result.stdout
    assert "no face, left out" in result.stdout
    again = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert again.exit_code == 1
    assert ["of", "all,", "done", "by", "an", "earlier", "run", "5"] in [
        line.split() for line in again.stdout.splitlines()
    ]


def test_without_a_face_a_failure_if_so_wished(tmp_path):
    root = tmp_path / "photographs"
    root.mkdir()
    Image.new("RGB", (80, 80)).save(root / "empty.png")
    Image.fromarray(np.hstack([small(0), small(2)])).save(root / "two.png")
    for options, outcomes, failures in (
        ({}, {"no face": 1, "largest": 1}, {}),
        ({"several": "skip"}, {"no face": 1, "several": 1}, {}),
        (
            {"several": "raise", "no_face": "raise"},
            {},
            {
                "empty.png": "no face was found in empty.png",
                "two.png": "2 faces were found in two.png, where exactly one is wanted",
            },
        ),
    ):
        report = prepare(root, tmp_path / "out", items(root), Preparation(size=64), Search(**options), redo=True)
        assert report.outcomes == outcomes
        assert report.failures == failures


def test_given_landmarks_need_no_detector(tmp_path):
    root, marks = tmp_path / "photographs", tmp_path / "landmarks"
    names = fill(root, 2)
    points = choose(detect(small(0))).points
    (marks / Path(names[0]).parent).mkdir(parents=True)
    np.savetxt(marks / Path(names[0]).with_suffix(".txt"), points)
    arguments = ["prepare", str(root), "-o", str(tmp_path / "out"), "--landmarks", str(marks), "--size", "64"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 1
    faces = Prepared(tmp_path / "out")
    assert faces.names == (names[0],)
    np.testing.assert_allclose(faces[names[0]].points, align_chip(small(0), points, size=64).points, atol=1e-9)
    assert "cannot be read: No such file" in faces.failures[names[1]]


def test_what_is_wrong_is_told(tmp_path):
    out = str(tmp_path / "out")
    assert "does not exist" in told("prepare", str(tmp_path / "absent"), "-o", out)
    (tmp_path / "empty").mkdir()
    assert "holds no photograph" in told("prepare", str(tmp_path / "empty"), "-o", out)
    fill(tmp_path / "photographs", 1)
    said = told("prepare", str(tmp_path / "photographs"), "-o", out, "--for", "lla-net", "--neutral", "first")
    assert "align must be 'chip' for a difference" in said
    assert "list.csv cannot be read" in told(
        "prepare", str(tmp_path / "photographs"), "-o", out, "--neutral", "list.csv"
    )
    assert not Path(out).exists()


def test_lla_net_is_cropped_to_mtcnns_box_if_that_is_asked_for(tmp_path):
    root = tmp_path / "photographs"
    names = fill(root, 1)
    wanted = replace(PREPARATIONS["lla-net"], box="detector")
    report = prepare(root, tmp_path / "out", items(root), wanted, SEARCHES["lla-net"])
    assert report.outcomes == {"one": 1}
    (face,) = MtcnnDetector().detect(small(0))
    expected = crop(small(0), face.box, face.points, size=112, margin=0)
    np.testing.assert_array_equal(Prepared(tmp_path / "out")[names[0]].image, expected.image)


def test_what_each_network_takes():
    assert {name: (recipe.align, recipe.size) for name, recipe in PREPARATIONS.items()} == {
        "tra-net": ("tra-net", 224),
        "lla-net": ("crop", 112),
        "cednn": ("chip", 224),
        "dba-net": ("crop", 100),
    }
    for options, message in (
        ({"align": "warp"}, "align must be one of"),
        ({"size": 0}, "size must be at least 1"),
        ({"margin": -1}, "margin must be at least 0"),
        ({"difference": True, "align": "crop"}, "align must be 'chip'"),
    ):
        with pytest.raises(ValueError, match=message):
            Preparation(**options)
