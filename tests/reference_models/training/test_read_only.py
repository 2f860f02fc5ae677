"""``reference-models train`` into a folder that cannot be written, at first or any more: one sentence, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reference_models.training.checkpoint_io import SafeCheckpointIO
from reference_models.training.trained import LAST

COMMAND = [str(Path(sys.executable).with_name("reference-models")), "train", "cednn", "--accelerator=cpu"]
COMMAND += ["--identities=9", "--frames=3", "--unseen=0", "--size=32", "--set", "batch_size=4", "--set", "epochs=50"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Close a folder to writing: by its permissions, or for root, whom they do not stop, by mounting it over itself."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if bound.returncode:
        pytest.skip(f"root can write anywhere, and may not mount here: {bound.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def ends_in_one_sentence(out: Path) -> None:
    """Run the command and check how it ends."""
    ended = subprocess.run([*COMMAND, "-o", str(out)], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    (sentence,) = [line for line in ended.stderr.splitlines() if line.startswith("reference-models: ")]
    assert sentence.startswith(f"reference-models: cannot write to {out}: ")


def test_a_folder_that_is_read_only_from_the_beginning(tmp_path: Path):
    with read_only(tmp_path):
        ends_in_one_sentence(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_between_two_runs(tmp_path: Path):
    out = tmp_path / "run"
    with subprocess.Popen([*COMMAND, "-o", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while first.poll() is None and not (out / LAST).exists():
            time.sleep(0.05)
        first.kill()
    assert first.returncode == -signal.SIGKILL
    before = (out / LAST).read_bytes()
    with read_only(out):
        ends_in_one_sentence(out)
    assert (out / LAST).read_bytes() == before
    assert SafeCheckpointIO().load_checkpoint(out / LAST)["epoch"] >= 0
