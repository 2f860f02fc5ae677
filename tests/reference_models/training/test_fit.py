"""Runs end to end in processes of their own: resumed after kills, and on two processes, they are the same run."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from reference_models.label_order import read_labels
from reference_models.training.fit import Hardware, fit
from reference_models.training.states import read_state
from reference_models.training.trained import BEST, LAST, MODEL, read_model
from tests.reference_models.training.faces import recipe, sides

EPOCH = 48 + 16  # pictures decoded in an epoch: trained on and validated

PLAINER = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
"""With wider vectors some processors round a whole batch otherwise than its halves: after three epochs the loss of one
process is as far from that of two as it is from its own in AVX2, 4e-5 on an Intel Xeon with AMX."""


def run(folder: Path, *, devices: int = 1, after: int = 0, how: str = "kill") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.reference_models.training.run", str(folder), str(devices), str(after), how]
    environ = os.environ | PLAINER
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


def losses(folder: Path) -> list[float]:
    """The training loss of each epoch, whichever start of the run wrote it."""
    found: dict[int, float] = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row.get("train/loss"):
                found[int(row["epoch"])] = float(row["train/loss"])
    return [found[epoch] for epoch in sorted(found)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_writes_what_can_be_read_again(whole: Path):
    trained = read_model(whole / MODEL)
    assert trained.recipe == recipe()
    assert read_labels(whole / MODEL) == recipe().labels
    assert not trained.network.training
    assert {path.name for path in whole.iterdir()} >= {BEST, LAST, MODEL, "run.json", "logs", "tensorboard"}


def test_it_learns(tmp_path: Path):
    fit(recipe(learning_rate=0.01, epochs=8), sides(), tmp_path, hardware=Hardware(accelerator="cpu"), progress=False)
    falling = losses(tmp_path)
    assert falling[-1] < 0.7 * falling[0]


def test_killed_and_resumed_it_is_the_same_run(whole: Path, tmp_path: Path):
    for pictures in (EPOCH + 20, EPOCH + 50):  # in the second epoch's training, in the third's validation
        killed = run(tmp_path, after=pictures)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / MODEL).exists()
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    mine, theirs = (safetensors.torch.load_file(folder / MODEL) for folder in (tmp_path, whole))
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert losses(tmp_path) == losses(whole)
    assert (tmp_path / "scores.json").read_text() == (whole / "scores.json").read_text()


def test_on_a_full_disk_it_ends_and_leaves_the_last_good_state(whole: Path, tmp_path: Path):
    ended = run(tmp_path, after=EPOCH + 20, how="full")
    assert ended.returncode == 1
    assert "Exception in thread" not in ended.stderr
    assert ended.stderr.rstrip().splitlines()[-1].startswith("OSError: [Errno 27] File too large")
    assert read_state(tmp_path / LAST)["epoch"] == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert run(tmp_path).returncode == 0
    mine, theirs = (safetensors.torch.load_file(folder / MODEL) for folder in (tmp_path, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(("how", "devices"), [("term", 1), ("int", 1), ("term", 2)])
def test_a_signal_ends_it_and_leaves_the_last_whole_epoch(whole: Path, tmp_path: Path, how: str, devices: int):
    ended = run(tmp_path, devices=devices, after=(EPOCH + 20) // devices, how=how)
    if how == "term":
        assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    else:
        assert ended.stderr.rstrip().endswith("\nKeyboardInterrupt")
    assert not (tmp_path / MODEL).exists()
    assert read_state(tmp_path / LAST)["epoch"] == 0
    if devices == 1:
        assert run(tmp_path).returncode == 0
        mine, theirs = (safetensors.torch.load_file(folder / MODEL) for folder in (tmp_path, whole))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_two_processes_have_the_loss_curve_of_one_and_share_out_its_pictures(whole: Path, tmp_path: Path):
    done = run(tmp_path, devices=2)
    assert done.returncode == 0, done.stderr
    alone, *shares = (
        json.loads(path.read_text()) for path in (whole / "given-0.json", *sorted(tmp_path.glob("given-*.json")))
    )
    assert len(shares) == 2
    for epoch, steps in alone.items():
        for step, pictures in enumerate(steps):
            together = [picture for share in shares for picture in share[epoch][step]]
            assert sorted(together) == sorted(pictures)
    torch.testing.assert_close(torch.tensor(losses(tmp_path)), torch.tensor(losses(whole)), rtol=0, atol=1e-5)


def test_a_folder_with_another_run_is_refused(whole: Path):
    with pytest.raises(ValueError, match=r"holds another run, with other seed, learning_rate: choose another folder"):
        fit(recipe(learning_rate=0.5), sides(), whole, seed=1, hardware=Hardware(accelerator="cpu"), progress=False)
