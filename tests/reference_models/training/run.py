"""One small run in its own process: ``python -m tests.reference_models.training.run FOLDER DEVICES AFTER [HOW]``.

After so many pictures it is killed, or HOW says what happens instead: ``full``: no file can be written any more;
``term`` or ``int``: that signal arrives, at the first of several processes. What each process was given is left in
``given-RANK.json``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reference_models.data.records import Record
from reference_models.training.fit import Hardware, fit
from tests.reference_models.training.faces import CornerPictures, recipe, sides
from tests.reference_models.training.given import Given


class Fatal(CornerPictures):
    """Pictures of which one is the last that the process sees."""

    left = 0

    def image(self, record: Record) -> NDArray[np.uint8]:
        Fatal.left -= 1
        if Fatal.left == 0:
            self.strike()
        return super().image(record)

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Filling(Fatal):
    """Pictures of which one is the last before the disk is full."""

    def strike(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # every write fails, as on a full disk


class Terminating(Fatal):
    """Pictures of which one is the last before SIGTERM."""

    def strike(self) -> None:
        if rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)


class Interrupting(Fatal):
    """Pictures of which one is the last before Ctrl-C."""

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


ENDS = {"kill": Fatal, "full": Filling, "term": Terminating, "int": Interrupting}


def rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def main() -> None:
    folder, devices, after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    pictures, given = CornerPictures(), Given()
    if after:
        Fatal.left, pictures = after, ENDS[(sys.argv[4:] or ["kill"])[0]]()
    hardware = Hardware(accelerator="cpu", devices=devices)
    scores = fit(recipe(), sides(pictures), folder, hardware=hardware, progress=False, watchers=(given,))
    (folder / f"given-{rank()}.json").write_text(json.dumps(given.epochs))
    if rank() == 0:
        (folder / "scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
