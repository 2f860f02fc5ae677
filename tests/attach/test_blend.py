"""The blend inside the gates: exact at both ends, its gradient, what older files mean, how it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import attnzoo
from attnzoo import ops
from attnzoo.registry import layer_info
from tests.attach.cases import images, model_of, set_blends
from tests.layers.cases import randomise

GATING = ["se", "cbam", "llam", "difference_gate"]
BACKENDS = ["torch", "auto"]


def called(
    name: str, dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[nn.Module, tuple[Tensor, ...], Tensor]:
    """Return a layer, what it is called with, and the map among that."""
    torch.manual_seed(1)
    layer = randomise(attnzoo.create(name, 12, **options)).to(dtype)
    x = torch.randn(3, 12, 9, 7).to(dtype)
    other = torch.randn(3, 12, 9, 7).to(dtype)
    maps = (torch.rand(3, 5, 9, 7) > 0.5).to(dtype)
    return layer, {"llam": (other, x), "difference_gate": (x, maps)}.get(name, (x,)), x


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", GATING)
def test_exact_at_both_ends(name: str, residual: bool, training: bool, backend: str):
    if residual and name not in {"se", "cbam"}:
        return
    for dtype in (torch.float32, torch.bfloat16):
        layer, inputs, x = called(name, dtype, **({"residual": True} if residual else {}))
        layer.train(training)
        with ops.backend(backend):
            paper = layer(*inputs)
            layer.load_state_dict(called(name, dtype)[0].state_dict())  # statistics as they were
            assert torch.equal(layer(*inputs, blend=torch.ones(1, dtype=dtype)), paper)
            kept = layer(*inputs, blend=torch.zeros(1, dtype=dtype))
        assert torch.equal(kept.view(torch.uint8), x.view(torch.uint8))


def written_out(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], x: Tensor, a: Tensor) -> Tensor:
    """x times (1 + a (g - 1)) for each gate in turn; the spatial gate is made of what the channel gate left."""
    if name != "cbam":
        (gate,) = layer.gates(*inputs)
        return x * (1 + a * (gate - 1))
    pooled = [x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)]
    channel = sum(layer.channel.fc2(layer.channel.act(layer.channel.fc1(p))) for p in pooled).sigmoid()
    x = x * (1 + a * (channel - 1))
    planes = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return x * (1 + a * (layer.spatial.norm(layer.spatial.conv(planes)).sigmoid() - 1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, -0.7])
@pytest.mark.parametrize("name", GATING)
def test_values_and_gradients_are_the_formulas(name: str, share: float, training: bool):
    found = []
    for dtype in (torch.float32, torch.float64):
        layer, inputs, x = called(name, dtype)
        layer.train(training)
        x.requires_grad_()
        a = torch.tensor([share], dtype=dtype, requires_grad=True)
        y = layer(*inputs, blend=a) if dtype is torch.float32 else written_out(name, layer, inputs, x, a)
        torch.manual_seed(2)
        y.backward(torch.randn(3, 12, 9, 7).to(dtype))
        found.append([y.detach(), x.grad, a.grad, *(p.grad for p in layer.parameters())])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("name", ["se", "cbam", "igc", "timm/eca", "llam"])
def test_attached_layers_are_called(name: str, init: str):
    model, seen = model_of("resnet"), []
    options = {"on_mismatch": "project"} if name == "llam" else {"groups": 4} if name == "igc" else {}
    attachment = attnzoo.attach(model, name, "block", init=init, **options)
    layers = [module for module in model.modules() if type(module) is layer_info(name).cls]
    assert len(layers) == len(attachment.sites)
    for layer in layers:
        layer.register_forward_pre_hook(lambda *_: seen.append("before"))
        layer.register_forward_hook(lambda *_: seen.append("after"))
        layer.register_full_backward_hook(lambda *_: seen.append("backward"))
    model(images().requires_grad_()).sum().backward()
    assert {kind: seen.count(kind) for kind in seen} == dict.fromkeys(("before", "after", "backward"), len(layers))


def as_older(path: Path) -> None:
    """Take out of a file what files had not before gates were blended one by one."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        saved = json.loads(file.metadata()["attnzoo"])
    del saved["blend"]
    save_file(tensors, path, metadata={"attnzoo": json.dumps(saved)})


def test_older_files_are_read_where_they_mean_the_same_and_refused_where_not(tmp_path: Path):
    for layer, value, same in (("cbam", 0.3, False), ("cbam", 1.0, True), ("se", 0.3, True)):
        attachment = attnzoo.attach(model_of("resnet"), layer, "stage")
        set_blends(attachment, value)
        path = tmp_path / f"{layer}{value}.safetensors"
        attachment.save(path)
        attachment.load(path)
        as_older(path)
        before = {key: tensor.clone() for key, tensor in attachment.state_dict().items()}
        if same:
            attachment.load(path)
        else:
            with pytest.raises(ValueError, match=r"blend of layer1\.0: it is 0\.3 and was trained when the product"):
                attachment.load(path)
        assert all(torch.equal(before[key], tensor) for key, tensor in attachment.state_dict().items())


def test_older_state_dicts_of_a_model_are_refused_where_they_mean_another_function():
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "cbam", "stage")
    set_blends(attachment, 0.3)
    state = model.state_dict()
    model.load_state_dict(state)
    for name, saved in state._metadata.items():
        if saved.get("version") == 2 and name.endswith("attnzoo.0"):
            saved["version"] = 1
    with pytest.raises(
        RuntimeError, match=r"layer1\.0\.attnzoo\.0\.blend: it is 0\.3 and was trained when the product"
    ):
        model.load_state_dict(state)
    model.load_state_dict(dict(state))  # without what torch notes of versions nothing can be told


def test_it_trains_as_well_as_a_blend_of_the_product():
    """From the same start, on the same data: the loss after some steps is no higher."""

    def loss_after_training(product: bool) -> float:
        torch.manual_seed(5)
        body, head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 1)
        layer, blend = attnzoo.CBAM(16, rd_channels=4), nn.Parameter(torch.zeros(1))
        weights = [*body.parameters(), *head.parameters(), *layer.parameters(), blend]
        optimiser = torch.optim.Adam(weights, lr=1e-2)
        x = torch.randn(64, 3, 10, 10)
        target = x[:, :1, 2:5, 2:5].amax((1, 2, 3))[:, None] * x.mean((1, 2, 3))[:, None].sign()
        loss = torch.zeros(())
        for _ in range(120):
            features = body(x).relu()
            if product:
                channel, spatial = layer.gates(features)
                y = features * (1 + blend * (channel * spatial - 1))
            else:
                y = layer(features, blend=blend)
            loss = (head(y.mean((2, 3))) - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert float(blend.detach()) != 0
        return float(loss.detach())

    assert loss_after_training(product=False) <= 1.05 * loss_after_training(product=True)
