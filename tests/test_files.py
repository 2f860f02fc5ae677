"""Files that commands write: said before any work if they cannot be, whole or not there."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attnzoo import files
from attnzoo.files import OutputError


def test_output_that_cannot_be_written_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "folder.png").mkdir()
    for path, message in (
        (tmp_path / "sheet.jpg", "must end in .png"),
        (tmp_path / "folder.png", "is a folder"),
        (tmp_path / "absent" / "sheet.png", "folder .*absent does not exist"),
    ):
        with pytest.raises(OutputError, match=message):
            files.check_writable(path, ".png")
    files.check_writable(tmp_path / "sheet.png", ".png")
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # what a user who is not root is told
    with pytest.raises(OutputError, match="is not writable"):
        files.check_writable(tmp_path / "sheet.png", ".png")


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let the system refuse to make any file of this process larger than ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("durable", [False, True])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, durable: bool):
    path = tmp_path / "sheet.png"
    files.write_atomically(path, b"old", durable=durable)
    with no_room_beyond(4096):
        with pytest.raises(OSError, match="File too large"):
            files.write_atomically(path, bytes(8192), durable=durable)
        with pytest.raises(OutputError, match=r"the output .*sheet\.png cannot be written: File too large"):
            files.write_output(path, bytes(8192))
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
        files.write_output(path, bytes(4096))
    assert path.read_bytes() == bytes(4096)


def test_a_file_appears_at_the_end_under_its_own_ending_until_then(tmp_path: Path):
    path = tmp_path / "model.onnx"
    with files.whole(path) as draft:
        assert draft.parent == tmp_path
        assert draft.suffix == ".onnx"
        draft.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    with pytest.raises(FileNotFoundError), files.whole(path):
        pass  # nothing was written
    with pytest.raises(TypeError), files.whole(path) as draft:
        draft.write_bytes("no bytes")
    assert path.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [path]
