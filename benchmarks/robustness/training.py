"""``reference-models train``: what kills and a full disk leave of a run.

    python -m benchmarks.robustness.training kills [--kills 20]
    python -m benchmarks.robustness.training full-disk          as root on Linux: mounts a file system of 64 MB

``kills`` trains each of the four networks, small, on synthetic faces once without interruption, and once killed at
random moments, wherever they fall, and resumed by the same command, and compares the weights bit by bit. The kills are
shared out to the networks.

``full-disk`` trains in a file system that is full after some epochs, and says how the command ended and whether the
training state that is left can be read.

Each writes ``results/training-*.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from benchmarks import RESULTS
from benchmarks.speed.interleaved import write
from reference_models.papers.claims.conditions import report_metadata
from reference_models.training.checkpoint_io import SafeCheckpointIO
from reference_models.training.trained import LAST, MODEL

PROGRAM = Path(sys.executable).with_name("reference-models")
OPTIONS = ("--accelerator=cpu", "--identities=90", "--frames=3", "--unseen=0", "--size=32", "--set", "batch_size=4")
NETWORKS = ("cednn", "dba-net", "lla-net", "tra-net")
EPOCHS = 12
SEED = 6
DISK = 64


def kills(count: int) -> list[dict[str, Any]]:
    """Return a row for the uninterrupted run of each network and one for each start of the interrupted one."""
    draw = random.Random(SEED)  # noqa: S311 - moments that can be repeated, no secret
    shares = [count // len(NETWORKS) + (place < count % len(NETWORKS)) for place in range(len(NETWORKS))]
    return [row for name, share in zip(NETWORKS, shares, strict=True) for row in _killed(name, share, draw)]


def _killed(name: str, count: int, draw: random.Random) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        rows = [_row(f"{name}, whole", _train(whole, name), whole)]
        for epochs in sorted(draw.sample(range(EPOCHS - 1), count)):
            process = _start(broken, name)
            while process.poll() is None and _epochs(broken) < epochs:
                time.sleep(0.05)
            try:  # somewhere in the next epoch, or the one after
                process.wait(draw.uniform(0.0, 1.0))
            except subprocess.TimeoutExpired:
                process.kill()
            rows.append(_row(f"{name}, broken", process.wait(), broken))
        rows.append(_row(f"{name}, broken", _train(broken, name), broken))
        mine, theirs = (safetensors.torch.load_file(path / MODEL) for path in (broken, whole))
        same = list(mine) == list(theirs) and all(torch.equal(mine[key], theirs[key]) for key in mine)
        rows[-1]["weights"] = "the same, bit for bit" if same else "others"
        return rows


def full_disk() -> list[dict[str, Any]]:
    """Return how a run ends whose disk fills up after its first epoch, and what is left of it."""
    with tempfile.TemporaryDirectory() as folder:
        _system("mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", folder)
        try:
            out = Path(folder, "run")
            command = _command(out, EPOCHS)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603
            while process.poll() is None and not (out / LAST).exists():
                time.sleep(0.01)
            free = os.statvfs(folder)
            Path(folder, "filler").write_bytes(bytes(free.f_bavail * free.f_bsize))
            _, said = process.communicate()
            unfinished = [path.name for path in out.iterdir() if path.name.startswith(".")]
            row = _row("on a disk that fills up", process.returncode, out)
            del row["weights"]
            return [row | {"unfinished files": len(unfinished), "said": " ".join(said.replace(folder, "..").split())}]
        finally:
            _system("umount", folder)


def main() -> int:
    """Run what is named, print its rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "full-disk"])
    parser.add_argument("--kills", type=int, default=20, help="How often [%(default)s]")
    arguments = parser.parse_args()
    made = report_metadata(f"python -m benchmarks.robustness.training {' '.join(sys.argv[1:])}")
    rows = kills(arguments.kills) if arguments.what == "kills" else full_disk()
    print(json.dumps(rows, indent=1))
    write(RESULTS / f"training-{arguments.what}.json", made, rows)
    return 0


def _system(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - our own command


def _command(folder: Path, epochs: int, name: str = "cednn") -> list[str]:
    return [str(PROGRAM), "train", name, "-o", str(folder), *OPTIONS, "--set", f"epochs={epochs}"]


def _start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    command = _command(folder, EPOCHS, name)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603


def _train(folder: Path, name: str) -> int:
    process = subprocess.run(_command(folder, EPOCHS, name), stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    return process.returncode


def _row(run: str, status: int, folder: Path) -> dict[str, Any]:
    ended = "killed" if status == -signal.SIGKILL else f"exit code {status}"
    epochs = min(_epochs(folder), EPOCHS)  # the test at the end is counted as one more
    return {"run": run, "ended": ended, "whole epochs": epochs, "weights": "-"}


def _epochs(folder: Path) -> int:
    """Return how many epochs the last state holds."""
    path = folder / LAST
    return int(SafeCheckpointIO().load_checkpoint(path)["epoch"]) + 1 if path.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
