"""Attached models under torch.fx, torch.jit.trace and torch.jit.script."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import timm
import torch
from timm.models._features_fx import FeatureGraphNet
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

import attnzoo
from tests.attach.cases import images, model_of, set_blends

PROJECT = {"on_mismatch": "project"}
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "se": ("se", "branch", {}),
    "cbam": ("cbam", "block", {}),
    "igc": ("igc", "block", {}),
    "timm": ("timm/eca", "block", {}),
    "llam": ("llam", "block", PROJECT),
    "llam in a slot": ("llam", "branch", PROJECT),
    "llam of a convolution": ("llam", "block", {"previous": "first_conv", **PROJECT}),
    "difference_gate": ("difference_gate", ["layer2.0", "layer3.0"], {}),
}
TRACE_WARNINGS = pytest.mark.filterwarnings(
    "ignore:`torch.jit.trace(_method)?` is deprecated", "ignore::torch.jit.TracerWarning"
)


def attended(case: str, init: str = "identity") -> tuple[nn.Module, Tensor, dict[str, Tensor]]:
    layer, where, options = CASES[case]
    model, x = model_of("resnet"), images()
    set_blends(attnzoo.attach(model, layer, where, init=init, **options), 0.7)
    maps = {"attention_maps": (torch.rand(2, 5, 64, 64) > 0.5).float()} if case == "difference_gate" else {}
    return model, x, maps


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("case", CASES)
def test_a_symbolic_trace_computes_the_same(case: str, init: str) -> None:
    model, x, maps = attended(case, init)
    graph = fx.symbolic_trace(model)
    assert_close(graph(x, **maps), model(x, **maps))
    assert sum(".attnzoo." in str(node.target) for node in graph.graph.nodes) or "slot" in case or case == "se"
    smaller = {name: each[:1] for name, each in maps.items()}
    assert_close(graph(x[:1], **smaller), model(x[:1], **smaller))


@pytest.mark.parametrize("case", CASES)
def test_feature_extractors(case: str) -> None:
    model, x, maps = attended(case)
    features: list[Tensor] = []
    model.layer3.register_forward_hook(lambda *call: features.append(call[-1]))
    model(x, **maps)
    assert_close(create_feature_extractor(model, ["layer3"]).eval()(x, **maps)["layer3"], features[0])
    if not maps:
        assert_close(FeatureGraphNet(model, out_indices=(3,))(x)[0], features[0])


def test_traces_may_run_in_threads_and_be_made_of_a_part() -> None:
    model, x, _ = attended("llam of a convolution")
    stage = fx.symbolic_trace(model.layer2)
    features = model.layer1(model.conv1(x))
    assert_close(stage(features), model.layer2(features))


@TRACE_WARNINGS
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("case", CASES)
def test_jit_trace_computes_the_same_on_other_batches_and_sizes(case: str, init: str, grad: bool) -> None:
    model, x, maps = attended(case, init)
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(model, example_kwarg_inputs={"x": x, **maps})
        assert_close(traced(x=x, **maps), model(x, **maps))
        other, theirs = torch.randn(3, 3, 96, 96), {name: torch.ones(3, 5, 96, 96) for name in maps}
        assert_close(traced(x=other, **theirs), model(other, **theirs))


@pytest.mark.parametrize("by", ["position", "name"])
def test_a_guided_model_takes_its_maps_by_position_and_by_name_and_is_exported_with_them(by: str) -> None:
    model, x, maps = attended("difference_gate")
    expected = model(x, **maps)
    args, kwargs = ((x, maps["attention_maps"]), None) if by == "position" else ((x,), maps)
    assert_close(model(*args, **(kwargs or {})), expected)
    program = torch.export.export(model, args, kwargs)
    assert_close(program.module()(*args, **(kwargs or {})), expected)


def test_a_guided_model_shows_its_maps_only_while_it_is_guided() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "difference_gate", ["layer2.0"])
    assert pickle.loads(pickle.dumps(model))(images(), torch.ones(2, 5, 64, 64)).shape == (2, 5)  # noqa: S301
    attachment.detach()
    with pytest.raises(TypeError):
        model(images(), torch.ones(2, 5, 64, 64))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("case", CASES)
def test_jit_script_is_refused_in_one_sentence(case: str) -> None:
    model, _, _ = attended(case)
    with pytest.raises(TypeError, match=r"cannot be compiled by torch\.jit\.script: use torch\.jit\.trace"):
        torch.jit.script(model)


@pytest.mark.parametrize("layer", [attnzoo.CBAM, attnzoo.SqueezeExcite])
def test_a_layer_in_a_models_own_slot(layer: type[nn.Module]) -> None:
    model = timm.create_model("resnet10t", block_args={"attn_layer": layer}).eval()
    x = images()
    extractor = create_feature_extractor(model, ["layer2"])
    features: list[Tensor] = []
    model.layer2.register_forward_hook(lambda *call: features.append(call[-1]))
    model(x)
    assert_close(extractor(x)["layer2"], features[0])
    assert_close(fx.symbolic_trace(model)(x), model(x))
    assert_close(FeatureGraphNet(model, out_indices=(2,))(x)[0], features[0])
