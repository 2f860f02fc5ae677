"""Which gates are captured, under which names, with which values, and that nothing else changes by it."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import attnzoo
import reference_models
from attnzoo import timm_layers
from tests.layers.cases import randomise
from tests.recorder.given import Given, channel_gate

NO_SIGMOID = {"bat", "bottleneck", "gca", "halo", "lambda", "nl", "sk", "splat"}  # softmax, an addition, or no gate
HALF = {"lcbam"}  # its channel half calls torch.sigmoid
CALLED_OTHERWISE = {"ge"}  # timm's factory does not make it from a channel count alone


def by_hand(cbam: attnzoo.CBAM, x: Tensor, share: float = 1.0) -> dict[str, Tensor]:
    """CBAM's two gates by its equations, in evaluation mode, where each gate counts by this share."""
    halves = cbam.channel
    both = [halves.fc2(F.relu(halves.fc1(p))) for p in (x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))]
    channel = (both[0] + both[1]).sigmoid()
    gated = x * (1 + share * (channel - 1))
    planes = torch.cat([gated.mean(1, keepdim=True), gated.amax(1, keepdim=True)], dim=1)
    return {":channel": channel, ":spatial": cbam.spatial.norm(cbam.spatial.conv(planes)).sigmoid()}


@pytest.mark.parametrize("grad", [True, False], ids=["with gradients", "image by image"])
def test_gates_of_cbam_are_those_of_its_equations(grad: bool):
    layer = randomise(attnzoo.CBAM(24)).eval()
    x = torch.randn(3, 24, 9, 7)
    with torch.set_grad_enabled(grad):
        expected = layer(x)
        with attnzoo.record(layer) as r:
            assert torch.equal(layer(x), expected) == grad or torch.allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(dict(r.gates), by_hand(layer, x), rtol=1e-5, atol=1e-6)
    assert not any(gate.requires_grad for gate in r.gates.values())


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("norm_layer", [nn.BatchNorm2d, None], ids=["norm", "bias"])
def test_gates_of_the_kernel_for_whole_images_are_recorded_too(
    monkeypatch: pytest.MonkeyPatch, norm_layer: type[nn.Module] | None, training: bool
):
    """Inside a model, where no hook is on the layer itself, CBAM and SE compute by one kernel."""
    native = attnzoo.ops.backends()["native"].available
    calls = []
    if native:
        from attnzoo.kernels.cpu.gates import launch_gates as launch

        run = launch.gate_images
        monkeypatch.setattr(launch, "gate_images", lambda *a: calls.append(a) or run(*a))
    model = nn.Sequential(attnzoo.CBAM(8, norm_layer=norm_layer), attnzoo.SqueezeExcite(8, rd_channels=4))
    randomise(model).train(training)
    x = torch.randn(2, 8, 6, 5)
    apart = copy.deepcopy(model)
    with attnzoo.record(model) as r:
        y = model(x)
    assert len(calls) == 2 * native
    first = by_hand(apart[0], x)
    torch.testing.assert_close(r.gates["0:channel"], first[":channel"])
    torch.testing.assert_close(r.gates["0:spatial"], first[":spatial"])
    between = x * first[":channel"] * first[":spatial"]
    second = apart[1].fc2(F.relu(apart[1].fc1(between.mean((2, 3), keepdim=True)))).sigmoid()
    torch.testing.assert_close(r.gates["1:channel"], second)
    torch.testing.assert_close(y, between * second)


@pytest.mark.parametrize("init", ["identity", "paper"])
def test_attached_layers_are_recorded_in_both_forms(init: str):
    model = timm.create_model("test_resnet").eval()
    attachment = attnzoo.attach(model, "cbam", "stage", init=init)
    x = torch.rand(2, 3, 64, 64)
    seen: dict[str, Tensor] = {}
    names = [site.name for site in attachment.sites]
    layers = {name: randomise(model.get_submodule(f"{name}.attnzoo.0.layer")) for name in names}
    with torch.no_grad():
        expected = model(x)
        with attnzoo.record(model) as r:
            assert torch.equal(model(x), expected)
        first = model.get_submodule(names[0])
        with attachment.enabled(False):
            handle = first.register_forward_hook(lambda _m, _a, out: seen.update({names[0]: out}))
            model(x)
            handle.remove()
    assert list(r.gates) == [f"{name}.attnzoo.0.layer:{gate}" for name in names for gate in ("channel", "spatial")]
    for gate, value in by_hand(layers[names[0]], seen[names[0]], float(init == "paper")).items():
        torch.testing.assert_close(r.gates[f"{names[0]}.attnzoo.0.layer{gate}"], value, rtol=1e-5, atol=1e-6)


def test_llam_region_masks_difference_maps_and_dba():
    llam = attnzoo.LLAM(4).eval()
    previous, current = torch.randn(2, 2, 4, 5, 5)
    with attnzoo.record(llam) as r:
        y = llam(previous, current)
    assert r.gates[":element"].shape == y.shape
    torch.testing.assert_close(current * r.gates[":element"], y)

    mask = attnzoo.RegionMask(1)
    with attnzoo.record(mask) as r:
        mask(torch.ones(1, 1, 8, 3))
    assert {name: gate.flatten().tolist() for name, gate in r.gates.items()} == {
        ":upper": [1, 1, 1, 1, 0, 0, 0, 0],
        ":middle": [0, 0, 1, 1, 1, 1, 0, 0],
        ":lower": [0, 0, 0, 0, 1, 1, 1, 1],
    }

    difference = attnzoo.DifferenceGate(6)
    maps = (torch.rand(2, 5, 4, 4) > 0.5).float()
    with attnzoo.record(difference) as r:
        difference(torch.rand(2, 6, 4, 4), maps)
    assert torch.equal(r.gates[":maps"], maps)

    dba = attnzoo.DenselyBackwardAttention([4, 8], rd_ratio=0.5)
    pyramid = [torch.rand(2, 4, 6, 6), torch.rand(2, 8, 3, 3)]
    with attnzoo.record(dba) as r, torch.no_grad():
        vector = dba(pyramid)
    pooled = torch.cat([x.mean((2, 3)) for x in pyramid], dim=1)
    torch.testing.assert_close(pooled * torch.cat([r.gates[":w1"], r.gates[":w2"]], dim=1), vector)


@pytest.mark.parametrize("name", sorted({*timm_layers.names()} - NO_SIGMOID - CALLED_OTHERWISE))
def test_gates_of_timms_attentions(name: str):
    layer = attnzoo.create(f"timm/{name}", 32).eval()
    x = torch.randn(2, 32, 8, 8)
    with torch.no_grad(), attnzoo.record(layer) as r:
        y = layer(x)
    assert r.gates
    assert all(gate.dim() == 4 and gate.min() >= 0 and gate.max() <= 1 for gate in r.gates.values())
    if len(r.gates) == 1 and name not in HALF:
        (gate,) = r.gates.values()
        torch.testing.assert_close(x * gate, y)


def test_gates_of_a_timm_and_a_torchvision_backbone_of_their_own():
    import torchvision

    for model, names in (
        (timm.create_model("mobilenetv3_small_050"), 9),
        (torchvision.models.mobilenet_v3_small(), 9),
    ):
        with torch.no_grad(), attnzoo.record(model.eval()) as r:
            model(torch.rand(1, 3, 64, 64))
        assert len(r.gates) == names
        assert all(gate.shape[2:] == (1, 1) for gate in r.gates.values())


NETWORKS = {
    "tra_net": (
        {"width": 16, "image_size": 64},
        [(1, 3, 64, 64)],
        {"decoder.0.se:channel", "mask:middle", "branches.upper.0:spatial", "branches.lower.6:channel"},
    ),
    "lla_net": ({"width": 4}, [(1, 3, 32, 32)], {"layer1.0.llam:element", "layer4.1.llam:element"}),
    "cednn": (
        {"image_size": 32, "se": "first"},
        [(1, 3, 32, 32), (1, 5, 32, 32)],
        {"stack:maps", "gates.1:maps", "block_layers.5:channel"},
    ),
    "dba_net": (
        {"backbone": "timm/resnet10t"},
        [(1, 3, 64, 64)],
        {"attention:w1", "attention:w2", "attention:w3", "attention:w4"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:record. :RuntimeWarning")  # random weights may well have dead channels
def test_the_four_networks(name: str):
    options, shapes, expected = NETWORKS[name]
    network = reference_models.create(name, **options).eval()
    inputs = [torch.rand(shape) for shape in shapes]
    with torch.no_grad():
        logits = network(*inputs)
        with attnzoo.record(network) as r:
            assert torch.equal(network(*inputs), logits)
    assert expected <= set(r.gates)
    noting = {
        layer
        for layer, module in network.named_modules()
        if type(module).__module__.startswith("attnzoo.layers") and hasattr(module, "gates")
    }
    assert noting <= {gate.partition(":")[0] for gate in r.gates}


def test_training_is_as_without():
    """Gradients and running statistics are those of a run that nobody recorded: nothing is computed twice."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), attnzoo.CBAM(8), nn.ReLU())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(4, 3, 8, 8)
    outcomes = []
    for recorded in (False, True):
        model.load_state_dict(state)
        model.zero_grad()
        if recorded:
            with attnzoo.record(model):
                model(x).square().sum().backward()
        else:
            model(x).square().sum().backward()
        outcomes.append([p.grad.clone() for p in model.parameters()] + [b.clone() for b in model.buffers()])
    for plain, recorded in zip(*outcomes, strict=True):
        assert torch.equal(plain, recorded)


def test_a_module_called_twice_and_a_pattern():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = attnzoo.CBAM(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    model = Twice().eval()
    x = torch.randn(1, 4, 5, 5)
    with attnzoo.record(model, only="*:spatial") as r:
        model(x)
    assert list(r.gates) == ["layer:spatial", "layer:spatial#2"]
    assert not torch.equal(*r.gates.values())


def test_what_checkpointing_computes_again_is_not_heard_again():
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = attnzoo.SqueezeExcite(8)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.layer, x, use_reentrant=False)

    model = Checkpointed()
    with attnzoo.record(model) as r:
        model(torch.randn(2, 8, 4, 4)).sum().backward()
    assert r.statistics()["layer:channel"].values == 16
    assert list(r.gates) == ["layer:channel"]


def test_kept_gates_are_copies_and_ordinary_tensors():
    gate = channel_gate(0.25, 0.5)
    model = nn.Sequential(Given(gate))
    with torch.inference_mode(), attnzoo.record(model) as r:
        model(torch.ones(1, 2, 1, 1))
    gate.zero_()
    kept = r.gates["0:given"]
    assert kept.flatten().tolist() == [0.25, 0.5]
    assert not kept.is_inference()


def test_a_pass_that_fails_leaves_nothing_behind():
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise OverflowError("on purpose")

    model = nn.Sequential(attnzoo.create("timm/se", 8), Fails())
    with pytest.raises(OverflowError, match="on purpose"), attnzoo.record(model) as r:
        model(torch.ones(1, 8, 2, 2))
    assert list(r.gates) == ["0:gate"]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model[0](torch.zeros(1, 8, 2, 2))
    assert r.statistics()["0:gate"].values == 8
