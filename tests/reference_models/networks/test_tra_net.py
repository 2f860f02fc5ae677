import copy

import pytest
import timm
import torch

from attnzoo import CBAM
from reference_models import TRANet
from reference_models.networks.tra_net import ConvPair
from tests.oracles.vggface2_senet50 import SENet50
from tests.reference_models.randomise import randomise

SIZE = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return randomise(TRANet(image_size=SIZE)).eval()


@pytest.fixture(scope="module")
def faces():
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


def branch_inputs(network, *args):
    seen = {}
    hooks = [
        branch.register_forward_pre_hook(lambda module, args, name=name: seen.__setitem__(name, args[0]))
        for name, branch in network.branches.items()
    ]
    network(*args)
    for hook in hooks:
        hook.remove()
    return seen


def test_logits_are_in_the_order_of_the_action_units(network, faces):
    logits = network(faces)
    assert network.aus == (1, 2, 4, 6, 9, 12, 25, 26)
    seen = branch_inputs(network, faces)
    expected = torch.cat([network.branches[name](seen[name]) for name in ("upper", "middle", "lower")], 1)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)


def test_each_branch_sees_its_rows_alone(network, faces):
    decoded = network.decode(faces)
    assert decoded.shape == (2, 256, 16, 16)
    rows = {"upper": range(8), "middle": range(4, 12), "lower": range(8, 16)}
    for name, view in branch_inputs(network, faces).items():
        for row in range(16):
            expected = decoded[:, :, row] if row in rows[name] else torch.zeros_like(decoded[:, :, row])
            torch.testing.assert_close(view[:, :, row], expected, rtol=0, atol=0)


def test_the_centre_row_moves_the_regions_sample_by_sample(network, faces):
    seen = branch_inputs(network, faces, torch.tensor([32.0, 16.0]))
    visible = seen["upper"].abs().sum((1, 3)) > 0
    assert visible.sum(1).tolist() == [8, 4]


def test_decoder_joins_the_encoders_maps(network, faces):
    """Each step is convolution, normalisation, ReLU, SE and bilinear doubling; two of three join a skip connection."""
    backbone, functional = network.backbone, torch.nn.functional
    stem = functional.max_pool2d(backbone.layer0(faces), 3, stride=2, ceil_mode=True)
    maps = [backbone.layer1(stem)]
    for layer in (backbone.layer2, backbone.layer3, backbone.layer4):
        maps.append(layer(maps[-1]))
    x = maps.pop()
    for i, step in enumerate(network.decoder):
        x = functional.conv2d(x, step.conv.weight, padding=1)
        x = functional.batch_norm(
            x, step.norm.running_mean, step.norm.running_var, step.norm.weight, step.norm.bias, eps=1e-5
        ).relu()
        z = x.mean((2, 3), keepdim=True)
        gate = functional.conv2d(
            functional.conv2d(z, step.se.fc1.weight, step.se.fc1.bias).relu(), step.se.fc2.weight, step.se.fc2.bias
        ).sigmoid()
        x = functional.interpolate(x * gate, scale_factor=2, mode="bilinear")
        if i < 2:
            x = torch.cat([x, maps[2 - i]], 1)
    torch.testing.assert_close(network.decode(faces), x, rtol=1e-4, atol=1e-5)


def test_newer_text_has_pairs_and_pools_where_it_says(network):
    kinds = [type(layer).__name__ for layer in network.branches["upper"]]
    pair = ["CBAM", "ConvPair", "MaxPool2d"]
    top = ["AdaptiveAvgPool2d", "Flatten", "Linear", "ReLU", "Linear"]
    assert kinds == [*pair, *pair, "CBAM", "ConvPair", *top]
    assert [each.residual for each in network.branches["upper"] if isinstance(each, ConvPair)] == [True, True, False]


@pytest.mark.parametrize(
    ("kwargs", "cbams", "halves"),
    [
        ({"version": "v1"}, 9, (True, True)),
        ({"channel_attention": False}, 9, (False, True)),
        ({"spatial_attention": False}, 9, (True, False)),
        ({"channel_attention": False, "spatial_attention": False}, 0, None),
        ({"residual": True, "hard_mask": False}, 9, (True, True)),
    ],
)
def test_ablations_are_configurations(kwargs, cbams, halves):
    network = TRANet(image_size=SIZE, device="meta", **kwargs)
    found = [each for each in network.modules() if isinstance(each, CBAM)]
    assert len(found) == cbams
    assert all((each.channel is not None, each.spatial is not None) == halves for each in found)
    assert all(each.residual == kwargs.get("residual", False) for each in found)


def test_without_hard_masks_every_branch_sees_the_whole_map(faces):
    network = TRANet(image_size=SIZE, hard_mask=False, version="v1").eval()
    decoded = network.decode(faces)
    for view in branch_inputs(network, faces).values():
        torch.testing.assert_close(view, decoded, rtol=0, atol=0)


def test_backbone_is_timms_and_width_scales_everything():
    timms = timm.create_model("legacy_seresnet50", num_classes=0).double().eval()
    network = TRANet(image_size=SIZE).eval()
    timms.load_state_dict(network.backbone.state_dict())
    x = torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    torch.testing.assert_close(network.backbone.double()(x), timms(x), rtol=1e-12, atol=1e-14)
    narrow = TRANet(image_size=SIZE, width=16).eval()
    full = {name: p.shape for name, p in network.named_parameters() if p.dim() == 4}
    shapes = {name: p.shape for name, p in narrow.named_parameters() if p.dim() == 4}
    scaled = [name for name, shape in full.items() if shape[1] > 3]  # not of the image, nor of a spatial gate's planes
    assert {name: shapes[name][:2] for name in scaled} == {
        name: torch.Size([full[name][0] // 4, full[name][1] // 4]) for name in scaled
    }
    assert narrow(x.float()).shape == (1, 8)


def test_residual_form_of_the_squeeze_and_excitation(network, faces):
    residual = TRANet(image_size=SIZE, se_residual=True).eval()
    residual.load_state_dict(network.state_dict())
    step, other = network.decoder[0], residual.decoder[0]
    x = torch.rand(1, 2048, 2, 2)
    plain = step.norm(step.conv(x)).relu()
    torch.testing.assert_close(other(x, (2, 2)), step(x, (2, 2)) + plain, rtol=1e-5, atol=1e-6)


def test_frozen_blocks_do_not_move(network, faces):
    learner = copy.deepcopy(network).train()
    optimiser = torch.optim.SGD((p for p in learner.parameters() if p.requires_grad), lr=0.1)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    learner(faces).square().sum().backward()
    optimiser.step()
    moved = {name for name, value in learner.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in moved if name.startswith(("backbone.layer0.", "backbone.layer1."))]
    assert {
        "backbone.layer2.0.conv1.weight",
        "decoder.2.norm.running_mean",
        "branches.lower.0.channel.fc1.weight",
    } <= moved


def test_vggface2_weights_load_by_their_own_names_and_compute_the_same(faces):
    published = randomise(SENet50(identities=11)).eval()
    network = TRANet(image_size=SIZE).eval()
    network.load_vggface2(published.state_dict())
    features = network.backbone.forward_features(faces)
    assert features.std() > 1e-3
    torch.testing.assert_close(features, published(faces), rtol=1e-4, atol=1e-5)


def test_other_weights_are_refused():
    network = TRANet(image_size=SIZE)
    before = network.backbone.layer0.conv1.weight.clone()
    wrong = {name: value for name, value in SENet50(identities=2).state_dict().items() if "conv4" not in name}
    wrong["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    match = r"32 missing: .*se_module\.fc1.*1 of another shape: layer0\.conv1\.weight \(64, 3, 3, 3\) instead of"
    with pytest.raises(ValueError, match=match):
        network.load_vggface2(wrong)
    assert torch.equal(network.backbone.layer0.conv1.weight, before)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"version": "v3"}, ValueError, "version must be one of 'v2', 'v1', got 'v3'"),
        ({"hard_mask": "no"}, TypeError, "hard_mask must be True or False, got 'no'"),
        ({"au_groups": {"top": (1,)}}, ValueError, "au_groups' regions must be one of 'upper'.*got 'top'"),
        ({"au_groups": {"upper": ()}}, ValueError, r"au_groups\['upper'\] must hold at least one"),
        ({"au_groups": {"upper": (0,)}}, ValueError, r"au_groups\['upper'\] must be at least 1, got 0"),
        ({"au_groups": ()}, TypeError, r"au_groups must map regions to action units, got \(\)"),
        ({"image_size": 0}, ValueError, "image_size must be at least 1, got 0"),
        ({"width": 24}, ValueError, "width must be a multiple of 16, got 24"),
    ],
)
def test_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        TRANet(**kwargs)


@pytest.mark.parametrize(
    ("x", "center", "match"),
    [
        (torch.rand(1, 3, 32, 32), None, r"x must have shape \(B, 3, 64, 64\), got \(1, 3, 32, 32\)"),
        (torch.rand(1, 3, 64, 64), 65.0, "center_row must lie in the frame, 0 to 64, got 65.0"),
        (torch.rand(1, 3, 64, 64), float("nan"), "center_row must lie in the frame, 0 to 64, got nan"),
        (torch.rand(1, 3, 64, 64), torch.zeros(2), r"center_row must be one number or have shape \(1,\)"),
    ],
)
def test_bad_inputs(network, x, center, match):
    with pytest.raises(ValueError, match=match):
        network(x, center)


def test_own_groups_of_action_units(faces):
    network = TRANet(image_size=SIZE, version="v1", au_groups={"lower": (15,), "upper": (5, 7)}, device="meta")
    assert network.aus == (15, 5, 7)
    assert list(network.branches) == ["lower", "upper"]
