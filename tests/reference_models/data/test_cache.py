"""Rendered faces are kept for the next command, within a limit, and not where the user wants none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reference_models.data import cache
from reference_models.data.synthetic import Shot, plan
from reference_models.preparation.preparation import PREPARATIONS, Preparation
from reference_models.training.rendered import RenderedFaces

SHOTS = plan("frames", identities=1, frames=1)
CHIP = Preparation(size=32, difference=True)


class NoRendering(Shot):
    def take(self, size: int) -> None:
        raise AssertionError(f"{self} was rendered again")


def test_the_second_time_nothing_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = RenderedFaces(SHOTS, CHIP, workers=0, kept=tmp_path)
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(Shot, "take", NoRendering.take)
    for preparation in (CHIP, Preparation(size=32, difference=True, thresholds=(1.0, 2.0))):
        again = RenderedFaces(SHOTS, preparation, workers=0, kept=tmp_path)
        for record in first.records:
            np.testing.assert_array_equal(again.image(record), first.image(record))
            maps = again.maps(record)
            assert maps is not None
            assert len(maps) == len(preparation.thresholds)
    with pytest.raises(AssertionError, match="was rendered again"):
        RenderedFaces(SHOTS, Preparation(size=33), workers=0, kept=tmp_path)
    path.write_bytes(path.read_bytes()[:200])  # a damaged file is made anew
    with pytest.raises(AssertionError, match="was rendered again"):
        RenderedFaces(SHOTS, CHIP, workers=0, kept=tmp_path)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for age, name in enumerate(("new", "middle", "old")):
        (tmp_path / f"{name}.npz").write_bytes(bytes(1000))
        cache.os.utime(tmp_path / f"{name}.npz", (1e9 - age, 1e9 - age))
    monkeypatch.setenv("ATTNZOO_CACHE_GB", "3e-6")
    cache.used(tmp_path / "old.npz")
    assert cache.make_room(tmp_path / "next.npz", 1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.npz", "old.npz"]
    assert not cache.make_room(tmp_path / "next.npz", 4000)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setenv("ATTNZOO_CACHE_GB", "much")
    with pytest.raises(ValueError, match="ATTNZOO_CACHE_GB must be a number of gigabytes, got 'much'"):
        cache.limit()


def test_where_it_is_and_how_it_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ATTNZOO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder("faces") == tmp_path / "attnzoo/faces"
    monkeypatch.setenv("ATTNZOO_CACHE", str(tmp_path / "mine"))
    assert cache.folder("faces") == tmp_path / "mine/faces"
    monkeypatch.setenv("ATTNZOO_CACHE", "off")
    assert cache.folder("faces") is None


def test_a_cache_that_cannot_be_written_keeps_nobody_from_rendering(tmp_path: Path):
    (tmp_path / "file").write_text("")
    faces = RenderedFaces(SHOTS, PREPARATIONS["dba-net"], workers=0, kept=tmp_path / "file")
    assert faces.image(faces.records[0]).shape == (100, 100, 3)
