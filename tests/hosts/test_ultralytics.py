"""A YOLO that ultralytics trains keeps its attention: in the run, in its files, and in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ultralytics = pytest.importorskip("ultralytics", reason="ultralytics is in the extra hosts, which no test needs")

from attnzoo.hosts.ultralytics import attached_trainer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
FRESH = """
import sys
import torch
from ultralytics import YOLO
model = YOLO(sys.argv[1]).model
blends = [value for name, value in model.state_dict().items() if name.endswith(".blend")]
print(len(blends), all(torch.isfinite(blend).all() for blend in blends), any(blend.abs().max() > 0 for blend in blends))
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of eight images with one box each."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    draw = np.random.default_rng(0)
    for side in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / side).mkdir(parents=True)
        for index in range(4):
            pixels = draw.integers(0, 255, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / side / f"{index}.png")
            (tmp_path / "labels" / side / f"{index}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    path = tmp_path / "data.yaml"
    path.write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: {{0: a}}\n")
    return path


@pytest.mark.slow
def test_attention_is_there_at_every_step(data: Path):
    trainer = attached_trainer("cbam", where="stage")
    options = {"imgsz": 64, "workers": 0, "plots": False, "device": "cpu", "project": str(data.parent / "runs")}
    options |= {"batch": 4, "nbs": 4, "warmup_epochs": 0, "optimizer": "SGD", "lr0": 0.05}
    yolo = ultralytics.YOLO("yolov8n.yaml")
    yolo.train(data=str(data), epochs=2, trainer=trainer, **options)
    best, last = Path(yolo.trainer.best), Path(yolo.trainer.last)
    done = subprocess.run([sys.executable, "-c", FRESH, str(last)], capture_output=True, text=True, check=True)
    count, finite, moved = done.stdout.split()[-3:]
    assert int(count) > 0
    assert (finite, moved) == ("True", "True")

    again = ultralytics.YOLO(str(best))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = again.model.eval()(x)[0]
        torch.testing.assert_close(again.model.fuse(verbose=False)(x)[0], before, rtol=1e-3, atol=1e-3)
    assert any(name.endswith(".blend") for name in again.model.state_dict())

    more = ultralytics.YOLO(str(best))
    more.train(data=str(data), epochs=1, trainer=trainer, **options)
    kept = {n: v for n, v in ultralytics.YOLO(str(best)).model.state_dict().items() if n.endswith(".blend")}
    got = {n: v for n, v in more.trainer.ema.ema.state_dict().items() if n in kept}
    assert got.keys() == kept.keys()


def test_another_task_is_refused():
    with pytest.raises(ValueError, match="task must be one of 'detect', 'segment'"):
        attached_trainer("cbam", task="depth")
