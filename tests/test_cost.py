"""Costs: worked by hand, calibrated with published figures, and nothing changed by the counting."""

from __future__ import annotations

import io
from collections import OrderedDict

import pytest
import torch
import torchvision
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

import attnzoo
from attnzoo.costs import CONVENTIONS, cost


def small() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(4, 8, 3, padding=1, groups=2),
            norm=nn.BatchNorm2d(8),
            act=nn.ReLU(inplace=True),
            halve=nn.AvgPool2d(2),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(8, 5, bias=False),
        )
    )


def by_name(measured: attnzoo.Cost) -> dict[str, attnzoo.costs.LayerCost]:
    return {layer.name: layer for layer in measured.layers}


class TestByHand:
    """Two images of 4 x 6 x 10: 8 x 60 outputs an image, each of 2 * 9 weights."""

    @pytest.fixture
    def layers(self):
        return by_name(cost(small(), torch.zeros(2, 4, 6, 10)))

    def test_parameters(self, layers):
        assert {name: layer.parameters for name, layer in layers.items() if layer.parameters} == {
            "conv": 8 * 2 * 9 + 8,
            "norm": 16,
            "fc": 40,
        }

    def test_multiply_adds(self, layers):
        assert layers["conv"].macs == 2 * 480 * 18
        assert layers["norm"].macs == 2 * 480 * 2  # in evaluation one scale and one shift
        assert layers["fc"].macs == 2 * 5 * 8

    def test_flops_are_two_a_multiply_add(self, layers):
        assert {name: layer.flops for name, layer in layers.items() if layer.flops} == {
            "conv": 2 * 2 * 480 * 18,
            "fc": 2 * 2 * 5 * 8,
        }

    def test_thop_2019(self, layers):
        assert {name: layer.thop_2019 for name, layer in layers.items() if layer.thop_2019} == {
            "conv": 2 * 480 * (18 + 1),
            "norm": 2 * 480 * 4,
            "halve": 2 * 8 * 15 * (2 + 1),  # the kernel as it was given: 2, not 2 x 2
            "pool": 2 * 8 * (15 + 1),
            "fc": 2 * 5 * 2 * 8,
        }

    def test_activation_bytes(self, layers):
        assert {name: layer.activation_bytes for name, layer in layers.items() if layer.activation_bytes} == {
            "conv": 4 * 2 * 480,
            "norm": 4 * 2 * 480,  # the ReLU writes into it
            "halve": 4 * 2 * 8 * 15,
            "pool": 4 * 2 * 8,
            "flat": 4 * 2 * 8,
            "fc": 4 * 2 * 5,
        }

    def test_totals_are_the_sums_of_the_layers(self):
        measured = cost(small(), torch.zeros(1, 4, 6, 10))
        for quantity in ("parameters", "macs", "flops", "thop_2019", "activation_bytes"):
            assert getattr(measured, quantity) == sum(getattr(layer, quantity) for layer in measured.layers) > 0

    def test_half_precision_halves_the_activations(self):
        full, half = (
            cost(small().to(dtype), torch.zeros(1, 4, 6, 10, dtype=dtype)) for dtype in (None, torch.bfloat16)
        )
        assert half.activation_bytes * 2 == full.activation_bytes
        assert (half.macs, half.flops, half.thop_2019) == (full.macs, full.flops, full.thop_2019)

    def test_trainable_parameters(self):
        model = small()
        model.conv.requires_grad_(False)
        measured = cost(model, torch.zeros(1, 4, 6, 10))
        assert (measured.parameters, measured.trainable_parameters) == (152 + 16 + 40, 16 + 40)


@pytest.mark.parametrize(
    ("name", "parameters", "thop_billions"), [("resnet18", 11_182_668, "1.8235"), ("densenet121", 6_966_156, "2.8964")]
)
def test_published_baselines(name, parameters, thop_billions):
    with torch.device("meta"):
        measured = cost(torchvision.models.get_model(name, num_classes=12), torch.zeros(1, 3, 224, 224))
    assert measured.parameters == parameters
    assert f"{measured.thop_2019 / 1e9:.4f}" == thop_billions


def test_a_real_network_by_fvcore():
    measured = cost(torchvision.models.resnet18(), torch.zeros(1, 3, 64, 64))
    assert measured.uncounted == {"aten::add_": 8, "aten::max_pool2d": 1}
    layers = by_name(measured)
    assert layers["layer4.1.conv2"].macs == 512 * 2 * 2 * 512 * 9
    assert layers["layer4.1.conv2"].output_shape == (1, 512, 2, 2)
    assert measured.macs == sum(layer.macs for layer in measured.layers)


def test_meta_costs_no_arithmetic_and_agrees():
    real = cost(small(), torch.zeros(2, 4, 6, 10))
    meta = cost(small().to("meta"), torch.zeros(2, 4, 6, 10, device="meta"))
    assert meta.macs is None
    assert "cannot trace the meta device" in str(meta)
    for quantity in ("parameters", "flops", "thop_2019", "activation_bytes"):
        assert getattr(meta, quantity) == getattr(real, quantity)


class OfTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 4, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(torch.cat([a, b], dim=1), self.conv.weight, self.conv.bias).sigmoid()


def test_functional_convolution_is_seen_by_fvcore_and_torch_but_not_by_the_module_rule():
    x = torch.zeros(1, 4, 5, 5)
    measured = cost(OfTwo(), x, x)
    assert measured.macs == 4 * 25 * 8
    assert measured.flops == 2 * measured.macs
    assert measured.thop_2019 == 0
    assert measured.activation_bytes == 4 * 4 * 25
    assert measured.uncounted["aten::sigmoid"] == 1


class Swapped(nn.BatchNorm2d):
    """As attach makes them: the class's own work, and a child that works on its result."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(super().forward(x))


def test_subclass_counts_as_its_class_and_its_child_by_itself():
    layers = by_name(cost(Swapped(4), torch.zeros(1, 4, 5, 5)))
    assert (layers[""].thop_2019, layers["after"].thop_2019) == (4 * 100, 100 * 5)
    assert (layers[""].macs, layers["after"].macs) == (2 * 100, 100 * 4)
    assert (layers[""].activation_bytes, layers["after"].activation_bytes) == (0, 400)


def test_module_called_twice_and_shared_weight():
    linear = nn.Linear(6, 6)
    tied = nn.Linear(6, 6)
    tied.weight = linear.weight
    measured = cost(nn.Sequential(linear, linear, tied), torch.zeros(1, 6))
    layers = by_name(measured)
    assert [(layer.name, layer.calls, layer.parameters) for layer in measured.layers] == [("0", 2, 42), ("2", 1, 6)]
    assert (layers["0"].macs, layers["0"].flops, layers["0"].thop_2019) == (72, 144, 144)
    assert measured.parameters == 48


def test_attention_is_counted_where_torch_has_a_fused_path():
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    measured = cost(layer, torch.zeros(1, 5, 8))
    products = 5 * 8 * (3 * 8) + 5 * 8 * 8 + 2 * 5 * 8 * 16  # projections, and the two linear layers
    attention = 2 * 5 * 5 * 8  # q k and attention v, over both heads
    assert measured.flops == 2 * (products + attention)
    assert torch.backends.mha.get_fastpath_enabled()


class Dicts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dba = attnzoo.DenselyBackwardAttention([4, 8])

    def forward(self, batch: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        return {"vector": self.dba(batch["maps"])}


def test_containers_of_tensors():
    maps = [torch.zeros(1, 4, 8, 8), torch.zeros(1, 8, 4, 4)]
    inner, outer = cost(attnzoo.DenselyBackwardAttention([4, 8]), maps), cost(Dicts(), {"maps": maps})
    assert inner.macs == outer.macs > 0
    assert inner.parameters == outer.parameters


class Noisy(nn.Module):
    """Draws random numbers in evaluation, works in place on its input, and has a frozen norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.frozen(self.norm(self.conv(x.mul_(2) + torch.rand_like(x))))
        if x.shape[-1] < 2:
            raise ValueError("too small")
        return x


@pytest.mark.parametrize("size", [6, 3], ids=["counts", "fails in forward"])
def test_leaves_everything_as_it_was(size):
    model = Noisy()
    hook = model.conv.register_forward_hook(lambda module, inputs, output: None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    x = torch.ones(2, 3, size, size)
    state, grad_mode = torch.random.get_rng_state(), torch.is_grad_enabled()
    if size < 4:
        with pytest.raises(ValueError, match="too small"):
            cost(model, x)
    else:
        cost(model, x)
    assert [module.training for module in model.modules()] == flags == [True, True, True, False]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled() is grad_mode
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.equal(x, torch.ones_like(x))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not module._forward_pre_hooks for module in model.modules())
    assert [len(module._forward_hooks) for module in model.modules()] == [0, 1, 0, 0]
    hook.remove()


def test_is_silent(capfd, caplog):
    cost(small(), torch.zeros(1, 4, 6, 10))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_every_figure_is_printed_with_its_convention():
    measured = cost(small(), torch.zeros(1, 4, 6, 10))
    lines = str(measured).splitlines()
    assert [line.split("  ")[0] for line in lines[: len(CONVENTIONS)]] == list(CONVENTIONS)
    assert f"{measured.flops:,}" in lines[2]
    text = io.StringIO()
    Console(file=text, width=140).print(measured.table())
    for words in ("(fvcore)", "(torch)", "(thop-2019)", "conv", "1x8x6x10", f"{measured.flops / 1e6:,.3f}"):
        assert words in text.getvalue()


def test_table_has_a_row_for_each_layer():
    measured = cost(small(), torch.zeros(1, 4, 6, 10))
    assert measured.table().row_count == len(measured.layers) == 6


def test_result_is_frozen():
    with pytest.raises(AttributeError):
        cost(nn.Linear(2, 2), torch.zeros(1, 2)).macs = 1


class Mute(nn.Module):
    def forward(self, x: Tensor) -> str:
        return f"{x.shape}"


@pytest.mark.parametrize(
    ("model", "inputs", "error", "match"),
    [
        (torch.relu, (torch.zeros(1),), TypeError, "model must be a torch.nn.Module"),
        (nn.ReLU, (torch.zeros(1),), TypeError, "model must be a torch.nn.Module"),
        (nn.ReLU(), (), TypeError, "inputs must hold at least one tensor"),
        (nn.ReLU(), ([3, "x"],), TypeError, "inputs must hold at least one tensor"),
        (Mute(), (torch.zeros(1),), TypeError, "must return tensors.* got str"),
        (nn.LazyLinear(3), (torch.zeros(1, 2),), ValueError, "lazy parameter 'weight'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_bad_input(model, inputs, error, match):
    with pytest.raises(error, match=match):
        cost(model, *inputs)
