"""An attached model computes what the bare one did, keeps its keys, and can be trained from there."""

from __future__ import annotations

import pytest
import torch

import attnzoo
from tests.attach.cases import MODELS, images, model_of, set_blends

LAYERS = ["se", "cbam", "timm/eca"]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", MODELS)
def test_output_is_the_bare_models_until_the_blend_moves(name: str, layer: str) -> None:
    model, x = model_of(name), images()
    bare = model(x)
    attachment = attnzoo.attach(model, layer, "block")
    assert torch.equal(model(x), bare)
    set_blends(attachment, 1.0)
    attended = model(x)
    assert not torch.allclose(attended, bare, rtol=1e-3)
    with attachment.enabled(False):
        assert torch.equal(model(x), bare)
    assert torch.equal(model(x), attended)


@pytest.mark.parametrize("name", MODELS)
def test_the_gates_blend_is_bitwise_even_for_negative_zeros(name: str) -> None:
    model, x = model_of(name), images()
    attachment = attnzoo.attach(model, "cbam", "stage")
    inputs = []
    handles = [
        model.get_submodule(entry.rpartition(".")[0]).register_forward_hook(
            lambda module, args, output: inputs.append((args[0], output))
        )
        for entry, _ in attachment.named_parameters()
        if entry.endswith(".blend")
    ]
    model(x)
    assert len(inputs) == len(handles) > 0
    for before, after in inputs:
        assert torch.equal(before.contiguous().view(torch.int32), after.contiguous().view(torch.int32))


def test_gate_blend_keeps_a_negative_zero() -> None:
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1)))
    site = attnzoo.Site(name="0", stage=None, spots=(attnzoo.Spot(layout="NCHW", channels=4, grid=(2, 2)),))
    attnzoo.attach(model, "se", [site])
    assert model[0](torch.full((1, 4, 2, 2), -0.0)).signbit().all()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_blend_of_one_is_the_papers_layer(layer: str) -> None:
    x = images()
    torch.manual_seed(3)
    blended = model_of("resnet")
    torch.manual_seed(3)
    plain = model_of("resnet")
    first = attnzoo.attach(blended, layer, "block")
    second = attnzoo.attach(plain, layer, "block", init="paper")
    set_blends(first, 1.0)
    state = {name: tensor for name, tensor in first.state_dict().items() if not name.endswith(":blend")}
    second.load_state_dict(state)
    torch.testing.assert_close(blended(x), plain(x), rtol=1e-5, atol=1e-6)
    assert not any(name.endswith(".blend") for name, _ in second.named_parameters())


@pytest.mark.parametrize("where", ["stage", "block"])
@pytest.mark.parametrize("name", MODELS)
def test_keys_and_their_order_are_the_backbones(name: str, where: str) -> None:
    model = model_of(name)
    keys = list(model.state_dict())
    names = [key for key, _ in model.named_parameters()]
    attachment = attnzoo.attach(model, "cbam", where)
    added = {key for key, _ in attachment.named_parameters()}
    buffers = {key for key in model.state_dict() if ".attnzoo." in key}
    assert added
    assert [key for key in model.state_dict() if key not in buffers] == keys
    assert [key for key, _ in model.named_parameters() if key not in added] == names
    assert added == {key for key, _ in model.named_parameters()} - set(names)


@pytest.mark.parametrize("name", MODELS)
def test_a_plain_checkpoint_loads_strictly_and_leaves_the_attention(name: str) -> None:
    model, x = model_of(name), images()
    checkpoint = model_of(name).state_dict()
    attachment = attnzoo.attach(model, "cbam", "stage")
    set_blends(attachment, 0.5)
    before = {key: tensor.clone() for key, tensor in attachment.state_dict().items()}
    assert not torch.equal(next(iter(checkpoint.values())), next(iter(model.state_dict().values())))
    for assign in (False, True):
        result = model.load_state_dict(checkpoint, strict=True, assign=assign)
        assert not result.missing_keys
        assert not result.unexpected_keys
    assert all(torch.equal(tensor, before[key]) for key, tensor in attachment.state_dict().items())
    with attachment.enabled(False):
        reference = model_of(name)
        reference.load_state_dict(checkpoint)
        assert torch.equal(model(x), reference(x))


def test_the_models_own_state_dict_has_the_attention_and_half_of_it_is_refused() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "stage")
    set_blends(attachment, 0.5)
    saved = model.state_dict()
    other = model_of("resnet")
    theirs = attnzoo.attach(other, "se", "stage")
    other.load_state_dict(saved, strict=True)
    assert all(torch.equal(tensor, attachment.state_dict()[key]) for key, tensor in theirs.state_dict().items())
    half = {key: tensor for key, tensor in saved.items() if not key.startswith("layer4.0.attnzoo")}
    with pytest.raises(RuntimeError, match=r"Missing key.*layer4\.0\.attnzoo\.0\.layer\.fc1\.weight"):
        other.load_state_dict(half, strict=True)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model_of("resnet").load_state_dict(saved, strict=True)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", MODELS)
def test_every_added_parameter_gets_a_gradient_within_two_steps(name: str, layer: str) -> None:
    model, x = model_of(name).train(), images(4)
    wide = {} if layer == "timm/eca" else {"rd_ratio": 1.0}  # a bottleneck of one dead ReLU would hide the gradient
    attachment = attnzoo.attach(model, layer, "stage", **wide)
    optimiser = torch.optim.SGD(attachment.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(x).square().sum().backward()
        optimiser.step()
    for parameter_name, parameter in attachment.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any(), parameter_name


def test_freezing_the_backbone_leaves_only_the_attention() -> None:
    model = model_of("resnet")
    model.conv1.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    attachment = attnzoo.attach(model, "se", "stage")
    attachment.freeze_backbone()
    attachment.freeze_backbone()
    added = {name for name, _ in attachment.named_parameters()}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == added
    attachment.unfreeze()
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters() if name in before} == before


def test_the_layer_is_made_on_the_models_dtype_and_mode() -> None:
    model = model_of("resnet").to(torch.bfloat16).train()
    model.layer2.eval()
    attachment = attnzoo.attach(model, "cbam", "stage")
    assert {parameter.dtype for parameter in attachment.parameters()} == {torch.bfloat16}
    modes = {site.name: model.get_submodule(site.name).attnzoo["0"].layer.training for site in attachment.sites}
    assert modes == {"layer1.0": True, "layer2.0": False, "layer3.0": True, "layer4.0": True}
    assert model(images().to(torch.bfloat16)).dtype == torch.bfloat16
