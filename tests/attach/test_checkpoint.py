"""Saving and loading the attention alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

import attnzoo
from tests.attach.cases import images, model_of, set_blends


def trained(layer: str = "cbam", where: str = "stage", **options: object):
    model = model_of("resnet")
    attachment = attnzoo.attach(model, layer, where, **options)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.normal_(std=0.3)
    return model, attachment


def test_a_file_holds_the_attention_alone_with_what_it_is(tmp_path: Path) -> None:
    _, attachment = trained(rd_ratio=0.25)
    attachment.save(tmp_path / "cbam.safetensors")
    with safe_open(tmp_path / "cbam.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(attachment.state_dict())
        spec = json.loads(file.metadata()["attnzoo"])
    assert spec["version"] == attnzoo.__version__
    assert spec["layer"] == "cbam"
    assert spec["options"] == {"rd_ratio": "0.25"}
    assert spec["channels"] == {"layer1.0": 32, "layer2.0": 48, "layer3.0": 192, "layer4.0": 96}
    assert [path.name for path in tmp_path.iterdir()] == ["cbam.safetensors"]


def test_save_then_load_in_another_place_of_a_stack(tmp_path: Path) -> None:
    model, attachment = trained()
    attachment.save(tmp_path / "a.safetensors")
    other = model_of("resnet")
    other.load_state_dict({key: value for key, value in model.state_dict().items() if "attnzoo" not in key})
    attnzoo.attach(other, "se", "stage")  # at its identity: only the numbers of the keys differ
    x = images()
    bare = other(x)
    assert not torch.allclose(bare, model(x))
    attnzoo.attach(other, "cbam", "stage").load(tmp_path / "a.safetensors")
    torch.testing.assert_close(other(x), model(x))


def test_loading_says_everything_that_differs_and_changes_nothing(tmp_path: Path) -> None:
    _, attachment = trained(rd_ratio=0.25)
    attachment.save(tmp_path / "a.safetensors")
    other = attnzoo.attach(model_of("torchvision"), "cbam", ["layer1.0", "layer1.1", "layer2.0"], rd_ratio=0.5)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"cbam on ResNet") as caught:
        other.load(tmp_path / "a.safetensors")
    message = str(caught.value)
    for part in (
        "only there: layer3.0, layer4.0",
        "only here: layer1.1",
        "layer1.0 has 32 channels there, 64 here",
        "'rd_ratio': '0.25'",
        "'rd_ratio': '0.5'",
    ):
        assert part in message
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_load_state_dict_is_strict_and_atomic() -> None:
    _, attachment = trained("se")
    state = attachment.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    wrong = {key: torch.zeros_like(value) for key, value in state.items()}
    wrong["layer4.0:blend"] = torch.zeros(2)
    del wrong["layer3.0:blend"]
    wrong["layer9:blend"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"layer3\.0:blend is missing.*layer9:blend is not.*layer4\.0:blend has shape"):
        attachment.load_state_dict(wrong)
    assert all(torch.equal(value, before[key]) for key, value in attachment.state_dict().items())


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    _, attachment = trained("se")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no attachment"):
        attachment.load(tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("not tensors at all")
    with pytest.raises(ValueError, match="no safetensors file"):
        attachment.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        attachment.load(tmp_path / "nowhere")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, attachment = trained("se")
    path = tmp_path / "a.safetensors"
    attachment.save(path)
    old = path.read_bytes()
    set_blends(attachment, 3.0)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        attachment.save(path)
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


SCRIPT = """
import sys, timm, torch, attnzoo
model = timm.create_model("test_resnet", num_classes=5, zero_init_last=False).eval()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
attnzoo.attach(model, "cbam", "stage").load(sys.argv[2])
torch.save(model(torch.load(sys.argv[3], weights_only=True)), sys.argv[4])
"""


def test_a_fresh_process_loads_it_and_computes_the_same(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=5, zero_init_last=False).eval()
    files = [tmp_path / name for name in ("backbone.pt", "cbam.safetensors", "images.pt", "output.pt")]
    torch.save(model.state_dict(), files[0])
    x = images()
    torch.save(x, files[2])
    bare = model(x)
    attachment = attnzoo.attach(model, "cbam", "stage")
    set_blends(attachment, 0.7)
    attachment.save(files[1])
    subprocess.run([sys.executable, "-c", SCRIPT, *map(str, files)], check=True, timeout=120)
    output = torch.load(files[3], weights_only=True)
    assert not torch.allclose(output, bare, rtol=1e-3)
    torch.testing.assert_close(output, model(x))


def test_layers_that_share_their_weights(tmp_path: Path) -> None:
    def model_and_attachment() -> tuple[nn.Module, attnzoo.Attachment]:
        shared = attnzoo.SqueezeExcite(16, rd_ratio=1.0)
        model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU()).eval()
        attachment = attnzoo.attach(
            model, lambda _: shared, ["1", "3"], init="paper", example_inputs=torch.rand(1, 3, 8, 8)
        )
        return model, attachment

    (model, first), (other, second) = model_and_attachment(), model_and_attachment()
    names = [name for name, _ in first.named_parameters()]
    assert len(names) == len(set(names)) == 4
    torch.optim.SGD(first.parameters(), lr=0.1)  # it refuses to have a parameter twice
    first.save(tmp_path / "shared.safetensors")
    second.load(tmp_path / "shared.safetensors")
    other.load_state_dict({k: v for k, v in model.state_dict().items() if "attnzoo" not in k})
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(other(x), model(x))
    assert other[1].attnzoo["0"].layer is other[3].attnzoo["0"].layer


def test_weights_that_are_parts_of_one_memory(tmp_path: Path) -> None:
    model, other = model_of("resnet"), model_of("resnet")
    first, second = attnzoo.attach(model, "se", "block"), attnzoo.attach(other, "se", "block")
    parameters = list(first.parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    start = 0
    for parameter in parameters:  # as optimizers and sharding libraries lay weights together
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    first.save(tmp_path / "flat.safetensors")
    second.load(tmp_path / "flat.safetensors")
    for mine, theirs in zip(second.parameters(), parameters, strict=True):
        assert torch.equal(mine, theirs)


def test_buffers_that_a_profiler_left_are_no_part_of_the_attention(tmp_path: Path) -> None:
    model, other = model_of("resnet"), model_of("resnet")
    first, second = attnzoo.attach(model, "cbam", "block"), attnzoo.attach(other, "cbam", "block")
    names = list(first.state_dict())
    first.save(tmp_path / "before.safetensors")
    for module in model.modules():  # as thop does
        module.register_buffer("total_ops", torch.zeros(1, dtype=torch.float64))
    assert list(first.state_dict()) == names
    first.load(tmp_path / "before.safetensors")
    first.save(tmp_path / "after.safetensors")
    second.load(tmp_path / "after.safetensors")
    assert all(torch.equal(second.state_dict()[name], tensor) for name, tensor in first.state_dict().items())


def test_what_was_pruned_is_saved_with_its_mask() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "block")
    pruned = next(module for module in model.modules() if isinstance(module, attnzoo.SqueezeExcite)).fc1
    prune.l1_unstructured(pruned, "weight", amount=0.5)
    names = [name.rpartition(".")[2] for name in attachment.state_dict()]
    assert names.count("weight_mask") == names.count("weight_orig") == 1
