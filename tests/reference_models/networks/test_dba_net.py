import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

from reference_models import DBANet
from tests.reference_models.randomise import randomise

NODES = {
    "vgg16_bn": ("features.12", "features.22", "features.32", "features.42"),
    "resnet101": ("layer1", "layer2", "layer3", "layer4"),
    "densenet161": ("features.denseblock1", "features.denseblock2", "features.denseblock3", "features.norm5"),
}


def head(network, maps):
    """Equations (1)-(6), every re-weighted map written out."""
    gates = []
    for x, extract in zip(maps, network.attention.extractors, strict=True):
        hidden = (x.mean((2, 3)) @ extract.fc1.weight.T + extract.fc1.bias).relu()
        gates.append((hidden @ extract.fc2.weight.T + extract.fc2.bias).sigmoid())
    vectors = []
    for i, x in enumerate(maps):
        weight = gates[i]
        if network.strategy == "dba" and i < len(maps) - 1:
            weight = torch.cat(gates[i:], 1) @ network.attention.backward_convs[i].weight.T
        vectors.append((x * weight[:, :, None, None]).mean((2, 3)))
    return torch.cat(vectors, 1) @ network.fc.weight.T + network.fc.bias


@pytest.mark.parametrize("strategy", ["dba", "aw_o_db"])
@pytest.mark.parametrize("backbone", list(NODES))
def test_follows_the_equations_on_the_papers_taps(backbone, strategy):
    network = randomise(DBANet(backbone, strategy=strategy)).eval()
    plain = torchvision.models.get_model(backbone, weights=None)
    prefix = "" if backbone == "resnet101" else "features."
    own = {prefix + name: value for name, value in network.backbone.state_dict().items()}
    missing, unexpected = plain.load_state_dict(own, strict=False)
    assert unexpected == []
    assert all("classifier" in name or "fc" in name or int(name.split(".")[1]) > 42 for name in missing)
    x = torch.rand(2, 3, 64, 64)
    maps = create_feature_extractor(plain, list(NODES[backbone])).eval()(x)
    torch.testing.assert_close(network(x), head(network, list(maps.values())), rtol=1e-4, atol=1e-5)


def test_baseline_is_the_backbone_with_its_own_head():
    network = DBANet("resnet101", strategy="baseline", device="meta")
    assert type(network.backbone) is torchvision.models.ResNet
    assert network.backbone.fc.out_features == 7
    assert not hasattr(network, "attention")


@pytest.mark.parametrize("name", ["timm/resnet10t", "test_convnext", "test_vit", "swinv2_cr_tiny_224"])
def test_any_timm_backbone_with_features(name):
    size = 224 if name.startswith("swin") else 160
    network = DBANet(name).eval()
    maps = network.backbone(torch.rand(1, 3, size, size))
    assert tuple(each.shape[1] for each in maps) == network.attention.channels
    assert len(maps) <= 4
    assert network(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_every_parameter_learns():
    network = DBANet("timm/resnet10t", strategy="dba")
    network(torch.rand(4, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert all(p.grad.any() for name, p in network.named_parameters() if name.startswith(("attention", "fc")))


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"backbone": "resnet102"}, ValueError, "backbone must be one of vgg16_bn, .*got 'resnet102'"),
        ({"backbone": "test_mambaout", "strategy": "dbb"}, ValueError, "strategy must be one of 'dba'.*got 'dbb'"),
        ({"num_classes": -1}, ValueError, "num_classes must be at least 1, got -1"),
        ({"backbone": "timm/resnet10t", "rd_ratio": 2.0}, ValueError, r"rd_ratio must be in \(0, 1\], got 2.0"),
        ({"pretrained": None}, TypeError, "pretrained must be True or False, got None"),
    ],
)
def test_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        DBANet(**kwargs)


def test_bad_input():
    with pytest.raises(TypeError, match=r"x must be floating, got torch.uint8"):
        DBANet("timm/resnet10t")(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize(("backbone", "width"), [("vgg16_bn", 64), ("resnet101", 64), ("densenet161", 96)])
def test_a_backbone_of_its_own_width_is_torchvisions(backbone, width):
    """Same keys and shapes for all three strategies."""
    for strategy in ("dba", "aw_o_db", "baseline"):
        narrow = DBANet(backbone, strategy=strategy, width=width, device="meta").state_dict()
        plain = DBANet(backbone, strategy=strategy, device="meta").state_dict()
        assert {name: value.shape for name, value in narrow.items()} == {n: v.shape for n, v in plain.items()}


@pytest.mark.parametrize("backbone", list(NODES))
def test_narrow_backbones_have_all_channels_scaled(backbone):
    full = DBANet(backbone, device="meta")
    own = {"densenet161": 96}.get(backbone, 64)
    network = DBANet(backbone, width=own // 8).eval()
    assert network.attention.channels == tuple(count // 8 for count in full.attention.channels)
    x = torch.rand(2, 3, 32, 32)
    assert [each.shape[1] for each in network.backbone(x)] == list(network.attention.channels)
    assert network(x).shape == (2, 7)
    assert DBANet(backbone, width=own // 8, strategy="baseline").eval()(x).shape == (2, 7)


def test_a_width_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="width must be None for timm models and with pretrained=True, got 16"):
        DBANet("timm/resnet10t", width=16)
    with pytest.raises(ValueError, match="width must be a multiple of 2, got 15"):
        DBANet("densenet161", width=15)
