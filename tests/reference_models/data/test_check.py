"""``reference-models check-data``: what it says, and its exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reference_models.cli.app import app
from tests.reference_models.data import trees

MAKE = {
    "disfa": trees.disfa,
    "disfa+": trees.disfa_plus,
    "ck+": trees.ck_plus,
    "raf-db": trees.raf_db,
    "aff-wild2": trees.aff_wild2,
    "affectnet": trees.affect_net,
}


def check(*arguments):
    result = CliRunner().invoke(app, ["check-data", *map(str, arguments)], env={"COLUMNS": "60"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("layout", ["disfa", "disfa+", "aff-wild2", "affectnet"])
def test_a_whole_copy_passes(tmp_path, layout):
    code, said, _ = check(layout, MAKE[layout](tmp_path / "my [copy] ü"), "--pictures")
    assert code == 0, said
    assert "0 errors" in said


def test_the_summary_counts_what_can_be_used(tmp_path):
    root = trees.disfa(tmp_path)
    code, said, _ = check("disfa", root)
    rows = {" ".join(words[:-1]): words[-1] for words in map(str.split, said.splitlines()) if len(words) > 1}
    positives = sum(trees.disfa_level(s, 12, f) >= 3 for s in trees.DISFA_SUBJECTS for f in range(1, 5))
    assert code == 0
    assert rows["frames that can be used"] == "108"
    assert rows["subjects"] == "27"
    assert rows["frames with landmarks"] == "104"
    assert rows["AU12"] == str(positives)
    assert rows["coded frames; unit at level 3 or more"] == "108"


@pytest.mark.parametrize("layout", ["ck+", "raf-db"])
def test_an_incomplete_copy_is_code_1(tmp_path, layout):
    code, said, _ = check(layout, MAKE[layout](tmp_path))
    assert code == 1
    assert "error " in said


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    root = trees.disfa(tmp_path)
    pictures = root / "Images_RightCamera"
    (pictures / "SN001/00001.png").write_bytes(b"")
    (pictures / "SN002/00004.png").write_bytes((pictures / "SN002/00003.png").read_bytes()[:45])
    (root / "Landmark_Points/SN003/tmp_frame_lm/SN003_0001_lm.mat").write_bytes(b"MATLAB")
    assert check("disfa", root)[0] == 0
    code, said, _ = check("disfa", root, "--pictures")
    assert code == 1
    assert "error Images_RightCamera/SN001/00001.png: " in said
    assert "error Images_RightCamera/SN002/00004.png: " in said
    assert "error Landmark_Points/SN003/tmp_frame_lm/SN003_0001_lm.mat: " in said
    assert "3 errors" in said
    assert str(root) not in said


def test_long_lists_are_shortened_unless_all_is_asked_for(tmp_path):
    root = trees.disfa(tmp_path, subjects=["SN001"])
    short, everything = check("disfa", root)[1], check("disfa", root, "--all")[1]
    assert "and 6 more; --all shows them" in short
    assert short.count("error ActionUnit_Labels") == 20
    assert everything.count("error ActionUnit_Labels") == 26


def test_links_that_loop_and_folders_that_may_not_be_listed(tmp_path, monkeypatch):
    root = trees.disfa(tmp_path)
    (root / "Images_RightCamera/SN001/loop").symlink_to(root / "Images_RightCamera")
    (root / "ActionUnit_Labels/SN002/self").symlink_to(root / "ActionUnit_Labels/SN002/self")
    (root / "ActionUnit_Labels/SN001/SN001_au1.txt").unlink()
    (root / "ActionUnit_Labels/SN001/SN001_au1.txt").symlink_to(root / "ActionUnit_Labels/SN001/SN001_au1.txt")
    code, said, _ = check("disfa", root)
    assert code == 1
    assert "SN001_au1.txt: cannot be read: Too many levels of symbolic links" in said
    folder = root / "Images_RightCamera/SN004"
    folder.chmod(0)
    if os.access(folder, os.R_OK):  # root may list everything: let the system say what it says to others
        listing = Path.iterdir

        def refuse(path):
            if path == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return listing(path)

        monkeypatch.setattr(Path, "iterdir", refuse)
    code, said, _ = check("disfa", root)
    folder.chmod(0o755)
    assert code == 1
    assert "error Images_RightCamera/SN004: cannot be listed: Permission denied" in said


def test_wrong_input_is_code_2(tmp_path):
    code, said, error = check("disfa", tmp_path / "absent")
    assert (code, said) == (2, "")
    assert "root must be a folder that can be listed" in error
    code, _, error = check("disfsa", tmp_path)
    assert code == 2
    assert "must be one of aff-wild2, affectnet, ck+, disfa, disfa+, own, raf-db, got 'disfsa'" in error


def test_annotations_are_never_run(tmp_path):
    trees.raf_db(tmp_path)
    listed = tmp_path / "basic/EmoLabel/list_patition_label.txt"
    listed.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code, said, _ = check("raf-db", tmp_path)
    assert code == 1
    assert "line 1 must be" in said
    assert not (tmp_path / "ran").exists()
