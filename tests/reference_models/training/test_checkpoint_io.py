"""Training states survive the file; files that are damaged, foreign or cannot be written are one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from reference_models.training.checkpoint_io import SafeCheckpointIO


def state() -> dict:
    shared = torch.arange(6.0).view(2, 3)
    return {
        "epoch": 3,
        "nothing": None,
        "yes": True,
        "rate": 0.1,
        "infinite": float("inf"),
        "state_dict": {"a/b": shared, "a": {"b": shared.T}, "empty": torch.zeros(0), "scalar": torch.tensor(7)},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.randn(3)}, 1: {}}, "pairs": ((1, 2.5), "x")}],
    }


def assert_same(left: object, right: object) -> None:
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for mine, theirs in zip(left, right, strict=True):
            assert_same(mine, theirs)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    else:
        assert left == right


def test_comes_back_as_it_was(tmp_path: Path):
    io, path, written = SafeCheckpointIO(), tmp_path / "deep" / "last.safetensors", state()
    io.save_checkpoint(written, path)
    assert_same(io.load_checkpoint(path), written)
    assert [child.name for child in path.parent.iterdir()] == ["last.safetensors"]
    io.remove_checkpoint(path)
    io.remove_checkpoint(path)
    assert not path.exists()


def test_what_neither_json_nor_safetensors_hold_is_named(tmp_path: Path):
    with pytest.raises(TypeError, match="cannot hold set at /callbacks/mine"):
        SafeCheckpointIO().save_checkpoint({"callbacks": {"mine": {1, 2}}}, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_an_error(tmp_path: Path, keep: int):
    path = tmp_path / "last.safetensors"
    SafeCheckpointIO().save_checkpoint(state(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"last.safetensors is damaged: "):
        SafeCheckpointIO().load_checkpoint(path)


def test_another_file_is_refused(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is no training state of this package"):
        SafeCheckpointIO().load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="no training state at"):
        SafeCheckpointIO().load_checkpoint(tmp_path / "absent.safetensors")


def test_a_failed_write_leaves_the_last_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    io, path, written = SafeCheckpointIO(), tmp_path / "last.safetensors", state()
    io.save_checkpoint(written, path)
    before = path.read_bytes()
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # what a full disk does: the write itself fails
    try:
        with pytest.raises(OSError, match="File too large"):
            io.save_checkpoint({**written, "more": torch.zeros(4096)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["last.safetensors"]
