import pytest
import torch
import torchvision
from torch.nn import functional as F

from reference_models import LLANet
from tests.reference_models.randomise import randomise


def images(size=32):
    return torch.rand(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def attend(llam, previous, current):
    """Equations of the paper, with the concatenated tensor that the layer avoids."""
    logits = F.conv2d(torch.cat([previous, current], 1), llam.conv.weight, llam.conv.bias, padding="same")
    return current * logits.sigmoid()


def test_without_attention_it_is_resnet18_with_a_stride_1_stem():
    network = randomise(LLANet(attention=False, dtype=torch.float64)).eval()
    plain = torchvision.models.resnet18(num_classes=7).double().eval()
    plain.load_state_dict(network.state_dict())
    plain.conv1.stride = (1, 1)
    plain.to(memory_format=torch.channels_last)
    expected = plain(images().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(network(images()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("placement", ["conv", "block"])
def test_blocks_follow_the_equations(placement, kernel_size):
    network = randomise(LLANet(placement=placement, kernel_size=kernel_size, dtype=torch.float64)).eval()
    x = torch.rand(1, 64, 8, 8, dtype=torch.float64)
    for stage in (network.layer1, network.layer2):
        block = stage[0]
        shortcut = x if block.downsample is None else block.downsample(x)
        previous = block.bn1(block.conv1(x)).relu()
        current = block.bn2(block.conv2(previous))
        if placement == "conv":
            expected = (attend(block.llam, previous, current) + shortcut).relu()
        else:
            expected = attend(block.llam, shortcut, (current + shortcut).relu())
        x = block(x)
        torch.testing.assert_close(x, expected, rtol=1e-9, atol=1e-9)


def test_maps_have_the_sizes_that_resnet18_has_at_224():
    network = LLANet(kernel_size=1).eval()
    sizes = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    network(torch.rand(1, 3, 112, 112))
    assert sizes == [56, 28, 14, 7]


def test_width_scales_every_stage():
    network = LLANet(width=16)
    shapes = {name: tuple(p.shape[:2]) for name, p in network.named_parameters() if p.dim() == 4}
    full = {name: tuple(p.shape[:2]) for name, p in LLANet().named_parameters() if p.dim() == 4}
    assert shapes.pop("conv1.weight") == (16, 3)
    assert shapes == {name: (a // 4, b // 4) for name, (a, b) in full.items() if name != "conv1.weight"}
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_every_parameter_learns():
    network = LLANet(kernel_size=1)
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_resnet18_checkpoint_loads_by_its_own_names():
    network = LLANet(kernel_size=1)
    classifier = network.fc.weight.clone()
    weights = torchvision.models.resnet18().state_dict()
    network.load_backbone(weights)
    torch.testing.assert_close(network.layer3[1].conv2.weight, weights["layer3.1.conv2.weight"], rtol=0, atol=0)
    torch.testing.assert_close(network.fc.weight, classifier, rtol=0, atol=0)


def test_another_checkpoint_is_refused_and_changes_nothing():
    network = LLANet(kernel_size=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"do not fit LLANet: .*unknown: .*layer1\.0\.conv3\.weight.*another shape"):
        network.load_backbone(torchvision.models.resnet50().state_dict())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"kernel_size": 2}, ValueError, "kernel_size must be odd .*got 2"),
        ({"placement": "stem"}, ValueError, "placement must be one of 'conv', 'block', got 'stem'"),
        ({"attention": 1}, TypeError, "attention must be True or False, got 1"),
        ({"width": 0}, ValueError, "width must be at least 1, got 0"),
        ({"width": 32, "pretrained": True}, ValueError, "width must be 64 with pretrained=True, got 32"),
        ({"pretrained": "yes"}, TypeError, "pretrained must be True or False, got 'yes'"),
    ],
)
def test_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        LLANet(**kwargs)


def test_bad_input():
    with pytest.raises(ValueError, match=r"x must have shape \(B, 3, H, W\), got \(2, 1, 8, 8\)"):
        LLANet(kernel_size=1)(torch.rand(2, 1, 8, 8))
