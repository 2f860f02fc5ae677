"""One small run in its own process: ``python -m tests.reference_models.training.run FOLDER DEVICES KILL_AFTER [full]``.

With ``full`` it is not killed after so many pictures, but no file can be written any more.
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


def main() -> None:
    folder, devices, kill_after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    pictures = CornerPictures()
    if kill_after:
        Fatal.left, pictures = kill_after, Filling() if sys.argv[4:] == ["full"] else Fatal()
    hardware = Hardware(accelerator="cpu", devices=devices)
    scores = fit(recipe(), sides(pictures), folder, hardware=hardware, progress=False)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        (folder / "scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
