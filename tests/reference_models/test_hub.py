"""The networks as folders of the Hub: written here, read in a process that may not use the network."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import reference_models
from reference_models.data.labels import Labels
from reference_models.hub import HUB_CLASSES, HubCEDNN, HubLLANet, from_trained
from reference_models.training.recipes import RECIPES
from reference_models.training.trained import RunRecord, write_model

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    "cednn": {"variant": "dense-L2M9", "num_aus": 3, "image_size": 32, "top_width": 16, "se": "first"},
    "dba_net": {"backbone": "timm/test_resnet", "num_classes": 4, "rd_ratio": 0.25},
    "lla_net": {"num_classes": 5, "width": 8, "placement": "block"},
    "tra_net": {"width": 16, "image_size": 64, "au_groups": {"upper": [1, 2], "middle": [6], "lower": [12, 25]}},
}


def inputs(name: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    side = OPTIONS[name].get("image_size", 64)
    x = torch.rand(2, 3, side, side, generator=generator)
    return (x, (torch.rand(2, 5, side, side, generator=generator) > 0.5).float()) if name == "cednn" else (x,)


def test_a_fresh_process_without_the_network_reads_what_was_written(tmp_path: Path):
    expected = {}
    for name, options in OPTIONS.items():
        network = HUB_CLASSES[name](**options).eval()
        network.save_pretrained(tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "README.md",
            "config.json",
            "model.safetensors",
        ]
        with torch.no_grad():
            expected[name] = network(*inputs(name))
        for place, x in enumerate(inputs(name)):
            expected[f"{name}-{place}"] = x
    safetensors.torch.save_file(expected, tmp_path / "expected.safetensors")
    code = (
        "import torch, safetensors.torch\n"
        "from reference_models.hub import HUB_CLASSES\n"
        "values = safetensors.torch.load_file('expected.safetensors')\n"
        "for name in HUB_CLASSES:\n"
        "    network = HUB_CLASSES[name].from_pretrained(name)\n"
        "    assert not network.training\n"
        "    given = [values[f'{name}-{i}'] for i in range(2) if f'{name}-{i}' in values]\n"
        "    with torch.no_grad():\n"
        "        torch.testing.assert_close(network(*given), values[name], rtol=1e-5, atol=1e-6)\n"
        "    print(name)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(HUB_CLASSES)


def test_options_dtype_and_labels_are_kept(tmp_path: Path):
    network = HubLLANet(num_classes=2, width=8, dtype=torch.bfloat16)
    network.labels = Labels("expressions", ("happiness", "sadness"))
    network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert {key: config[key] for key in ("num_classes", "width", "placement")} == {
        "num_classes": 2,
        "width": 8,
        "placement": "conv",
    }
    read = HubLLANet.from_pretrained(tmp_path)
    assert read.labels == network.labels
    assert read.fc.weight.dtype == torch.bfloat16
    assert torch.equal(read.fc.weight, network.fc.weight)
    assert isinstance(read, reference_models.LLANet)


def test_imagenet_weights_are_not_asked_for_again(tmp_path: Path):
    """No network, no cache: with ``pretrained=True`` in the options a download would be tried, and would fail."""
    HubLLANet(width=8).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained": True}))
    assert HubLLANet.from_pretrained(tmp_path).width == 8


def test_a_trained_model_becomes_one_with_its_labels(tmp_path: Path):
    recipe = RECIPES["cednn"].changed(image_size=32, options={"variant": "res-L6M3", "top_width": 16})
    from reference_models.training.networks import build

    trained = build(recipe).eval()
    write_model(trained, RunRecord.of(recipe, "data", 0), {}, tmp_path / "model.safetensors")
    network = from_trained(tmp_path / "model.safetensors")
    network.save_pretrained(tmp_path / "folder")
    read = HubCEDNN.from_pretrained(tmp_path / "folder")
    assert read.labels == recipe.labels
    x, maps = inputs("cednn")
    torch.testing.assert_close(read(x, maps), trained(x, maps))


def test_a_pickle_is_not_read_even_where_it_is_the_only_file(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    HubLLANet(width=8).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"holds no model\.safetensors; a pickle can run code and is not read"):
        HubLLANet.from_pretrained(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_weights_that_do_not_fit_are_named(tmp_path: Path):
    HubLLANet(width=8).save_pretrained(tmp_path)
    safetensors.torch.save_file(nn.Linear(2, 2).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"the weights do not fit HubLLANet: .* missing: .*2 unknown: bias, weight"):
        HubLLANet.from_pretrained(tmp_path)
