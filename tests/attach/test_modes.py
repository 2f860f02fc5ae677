"""Attaching where no gradients are, to models in evaluation, and freezing by name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.nn.utils import parametrizations

import attnzoo
from tests.attach.cases import images, model_of, set_blends

GUIDED = ["layer2.0", "layer3.0"]
KINDS = {
    "cbam": ("cbam", "block", {}),
    "se in a slot": ("se", "branch", {}),
    "llam": ("llam", "block", {"on_mismatch": "project"}),
    "llam of a convolution": ("llam", "block", {"previous": "first_conv", "on_mismatch": "project"}),
    "difference_gate": ("difference_gate", GUIDED, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_attaching_under_inference_mode_makes_what_can_be_trained(kind: str) -> None:
    layer, where, options = KINDS[kind]
    model, expected = model_of("resnet"), model_of("resnet")
    sites = attnzoo.attach(expected, layer, where, **options).sites
    with torch.inference_mode():
        x = images()
        attachment = attnzoo.attach(model, layer, where, example_inputs=x, **options)
        assert [site.name for site in attachment.sites] == [site.name for site in sites]
    assert not any(parameter.is_inference() for parameter in attachment.parameters())
    maps = {"attention_maps": torch.ones(2, 5, 64, 64)} if kind == "difference_gate" else {}
    model.train()(images(), **maps).sum().backward()
    assert all(parameter.grad is not None for parameter in attachment.parameters())


@pytest.mark.parametrize("layer", ["cbam", "llam"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_model_that_was_made_under_inference_mode(layer: str, inside: bool) -> None:
    with torch.inference_mode():
        model = timm.create_model("test_resnet", num_classes=5).eval()
        bare = model(x := images())
    options = {"on_mismatch": "project"} if layer == "llam" else {}
    with torch.inference_mode(mode=inside):
        attachment = attnzoo.attach(model, layer, "block", **options)
    assert len(attachment.sites) == 4
    with torch.inference_mode():
        assert torch.equal(model(x), bare)
        set_blends(attachment, 0.7)
        assert not torch.allclose(model(x), bare, rtol=1e-3)


def test_plan_and_pyramid_head_under_inference_mode() -> None:
    model = model_of("resnet")
    with torch.inference_mode():
        assert len(attnzoo.plan(model, "se", "block").rows) == 4
        classifier = attnzoo.with_pyramid_head(model, "dba", num_classes=3)
    classifier(images()).sum().backward()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_attached_is_in_the_mode_of_its_host(kind: str, training: bool) -> None:
    layer, where, options = KINDS[kind]
    model = model_of("resnet").train(training)
    attnzoo.attach(model, layer, where, **options)
    assert {module.training for module in model.modules()} == {training}
    model.train(not training)
    assert {module.training for module in model.modules()} == {not training}


def test_parts_that_are_in_evaluation() -> None:
    model = model_of("resnet").train()
    model.layer2.eval()
    attnzoo.attach(model, "llam", "block", previous="first_conv", on_mismatch="project")
    assert not any(module.training for module in model.layer2.modules())
    assert all(module.training for module in model.layer3.modules())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "difference_gate"])
def test_attached_in_evaluation_and_exported(kind: str, tmp_path: Path) -> None:
    layer, where, options = KINDS[kind]
    model = model_of("resnet")
    attnzoo.attach(model, layer, where, **options)
    assert attnzoo.export_program(model, images(), tmp_path / "model.pt2").difference < 1e-5


def frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_parameters_that_were_assigned_in_between_are_thawed() -> None:
    model = model_of("resnet")
    model.conv1[0].requires_grad_(False)
    attachment = attnzoo.attach(model, "cbam", "block")
    before = frozen(model)
    attachment.freeze_backbone()
    assert len(frozen(model)) > len(before)
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    attachment.unfreeze()
    assert frozen(model) == before == {"conv1.0.weight"}


def test_parameters_that_a_conversion_replaced_are_thawed() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "block")
    attachment.freeze_backbone()
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        model.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
    attachment.unfreeze()
    assert not frozen(model)


def test_parameters_that_were_reparametrised_in_between_are_thawed() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "block")
    attachment.freeze_backbone()
    parametrizations.weight_norm(model.conv1[0])
    attachment.unfreeze()
    assert not frozen(model)
    attachment.freeze_backbone()
    assert "conv1.0.parametrizations.weight.original0" in frozen(model)


def test_modules_that_were_replaced_in_between_stay_as_they_are() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "block")
    attachment.freeze_backbone()
    model.fc = nn.Linear(model.fc.in_features, 7)
    model.fc.bias.requires_grad_(False)
    attachment.unfreeze()
    assert not frozen(model) - {"fc.bias"}


def test_a_copy_of_model_and_attachment_together() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "block")
    attachment.freeze_backbone()
    other, theirs = copy.deepcopy((model, attachment))
    theirs.unfreeze()
    assert not frozen(other)
    assert frozen(model)
    theirs.detach()
    assert not any("attnzoo" in name for name, _ in other.named_modules())
    assert len([name for name, _ in model.named_modules() if name.endswith("attnzoo")]) == 4


def test_tied_parameters_are_thawed_when_they_are_no_longer_tied() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    model[1].weight = model[0].weight
    attachment = attnzoo.attach(model, "se", "1", example_inputs=torch.rand(1, 4, 8, 8))
    attachment.freeze_backbone()
    model[1].weight = nn.Parameter(model[1].weight.detach().clone(), requires_grad=False)
    attachment.unfreeze()
    assert not frozen(model)
