"""What is found under a folder: photographs, and each thing that cannot be looked at, with its reason."""

from __future__ import annotations

import gc
import os

import pytest

from reference_models.preparation.items import (
    Item,
    PreparationError,
    scan,
    with_first_as_neutral,
    with_listed_neutrals,
    with_points,
)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_photographs_are_found_by_their_endings_in_order(tmp_path):
    touch(tmp_path, "b.PNG", "a/ü x.jpeg", "a/notes.txt", "a/.hidden.png", ".git/c.png", "a.jpg", "out/faces/a.jpg.png")
    found = scan(tmp_path, without=tmp_path / "out")
    assert found.images == ["a.jpg", "a/ü x.jpeg", "b.PNG"]
    assert found.problems == {}
    assert found.ignored == 3


def test_links_are_followed_but_not_in_circles(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root, "a/1.png")
    touch(elsewhere, "2.png")
    (root / "b").symlink_to(elsewhere)
    (root / "a" / "up").symlink_to(root)
    (elsewhere / "back").symlink_to(root / "a")
    (root / "self").symlink_to(root / "self")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "nowhere").symlink_to(root / "absent")
    found = scan(root)
    assert found.images == ["a/1.png", "b/2.png", "b/back/1.png", "self.png"]
    circle = "is a link that leads back to a folder above it"
    assert found.problems == {
        "a/up": circle,
        "b/back/up": circle,
        "self": "is a loop of links",
        "nowhere": "is a link that leads nowhere",
    }


def test_a_folder_that_may_not_be_read_is_reported_and_the_rest_goes_on(tmp_path):
    touch(tmp_path, "closed/1.png", "open/2.png")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != path.parent and "pytest" in path.as_posix():
            path.chmod(0o755)
    (tmp_path / "closed").chmod(0)
    user = os.geteuid()
    gc.collect()  # what earlier tests left is root's, and nobody else may finalise it
    gc.disable()
    if user == 0:
        os.seteuid(65534)  # to root no folder is closed
    try:
        found = scan(tmp_path)
    finally:
        os.seteuid(user)
        gc.enable()
        (tmp_path / "closed").chmod(0o755)
    assert found.images == ["open/2.png"]
    assert found.problems == {"closed": "cannot be read: Permission denied"}


def test_no_folder_to_look_into(tmp_path):
    touch(tmp_path, "file")
    with pytest.raises(PreparationError, match=r"file is no folder"):
        scan(tmp_path / "file")
    with pytest.raises(PreparationError, match=r"absent does not exist"):
        scan(tmp_path / "absent")


def test_the_first_of_each_folder_is_its_neutral_frame():
    items = with_first_as_neutral([Item("b/2.png"), Item("b/1.png"), Item("c.png")])
    assert [item.neutral for item in items] == ["b/1.png", "b/1.png", "c.png"]


def test_neutral_frames_from_a_list(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("image,neutral\nä/2.png,ä/1.png\n", encoding="utf-8")
    items = [Item("ä/1.png"), Item("ä/2.png")]
    assert [item.neutral for item in with_listed_neutrals(items, path)] == [None, "ä/1.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,neutral\n../x.png,a.png\n", r"names '\.\./x\.png', which is no photograph under the root"),
        ("image,neutral\na.png,/etc/passwd\n", "names '/etc/passwd'"),
        ("image,rest\na.png,a.png\n", r"must have the columns image and neutral, got \['image', 'rest'\]"),
        ("", "must have the columns"),
    ],
)
def test_lists_that_cannot_be_followed(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(PreparationError, match=message):
        with_listed_neutrals([Item("a.png")], path)
    with pytest.raises(PreparationError, match=r"absent\.csv cannot be read"):
        with_listed_neutrals([Item("a.png")], tmp_path / "absent.csv")


def test_landmark_files_beside_or_as_ck_plus_names_them(tmp_path):
    touch(tmp_path, "S005/001/S005_001_00000011_landmarks.txt", "x/1.mat")
    items = [Item("S005/001/S005_001_00000011.png", neutral="x/1.jpg"), Item("x/absent.png")]
    first, second = with_points(items, tmp_path)
    assert first.points == tmp_path / "S005/001/S005_001_00000011_landmarks.txt"
    assert first.neutral_points == tmp_path / "x/1.mat"
    assert second.points == tmp_path / "x/absent.txt"  # it is reported when it is read
    assert second.neutral_points is None
