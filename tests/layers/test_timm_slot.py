"""The unary layers in timm's own attention slot, and timm's attentions in our registry."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest
import timm
import torch
from timm.models.resnet import BasicBlock, Bottleneck

from attnzoo import create, layer_info, list_layers
from tests.layers import cases

UNARY = list_layers(kind="unary")


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("model_name", ["resnet10t", "resnet18"])
def test_unary_layer_fits_timms_slot(name: str, model_name: str):
    layer = layer_info(name).cls
    # zero_init_last would start every residual branch at zero, and no layer in it could change the output
    model = timm.create_model(model_name, block_args={"attn_layer": layer}, zero_init_last=False, num_classes=5).eval()
    blocks = [module for module in model.modules() if isinstance(module, BasicBlock | Bottleneck)]
    assert len(blocks) == {"resnet10t": 4, "resnet18": 8}[model_name]
    assert all(type(block.se) is layer for block in blocks)
    assert [block.se.channels for block in blocks] == [block.bn2.num_features for block in blocks]

    plain = timm.create_model(model_name, zero_init_last=False, num_classes=5).eval()
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert all(".se." in key for key in unexpected)
    x = torch.randn(2, 3, 64, 64)
    output = model(x)
    assert output.shape == (2, 5)
    assert not torch.allclose(output, plain(x), rtol=1e-2, atol=1e-3)
    cases.with_random_gradient(output)
    assert all(p.grad is not None for p in model.parameters())


def names_in_source() -> set[str]:
    """Return the names that the if/elif ladder of timm's ``get_attn`` compares ``attn_type`` with."""
    source = inspect.getsource(importlib.import_module("timm.layers.create_attn"))
    (function,) = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == "get_attn"
    ]
    return {
        comparison.comparators[0].value
        for comparison in ast.walk(function)
        if isinstance(comparison, ast.Compare)
        and isinstance(comparison.left, ast.Name)
        and comparison.left.id == "attn_type"
        and isinstance(comparison.ops[0], ast.Eq)
        and isinstance(comparison.comparators[0], ast.Constant)
    }


def test_the_names_are_those_of_timms_source():
    names = names_in_source()
    assert {"se", "eca", "gc", "cbam", "sk"} <= names, "get_attn is no ladder of comparisons any more"
    assert list_layers(filter="timm/*") == sorted(f"timm/{name}" for name in names)


@pytest.mark.parametrize("name", list_layers(filter="timm/*"))
def test_every_name_is_timms_own_class(name: str):
    get_attn = importlib.import_module("timm.layers.create_attn").get_attn
    info = layer_info(name)
    theirs = get_attn(name.removeprefix("timm/"))
    assert (getattr(info.cls, "func", info.cls), getattr(info.cls, "keywords", {})) == (
        getattr(theirs, "func", theirs),
        getattr(theirs, "keywords", {}),
    )
    assert info.name == name
    assert info.kind == "unary"


RUN = {f"timm/{name}" for name in ("eca", "gc", "coord", "se", "cbam", "ese", "ela", "scoord", "nl")}


@pytest.mark.parametrize("name", sorted(RUN.intersection(list_layers(filter="timm/*"))))  # an old timm has fewer
def test_timms_attentions_run(name: str):
    layer = create(name, 32).eval()
    assert type(layer).__module__.startswith("timm.layers.")
    x = torch.randn(2, 32, 8, 8)
    assert layer(x).shape == x.shape


def test_timms_attention_takes_timms_keywords():
    layer = create("timm/se", 32, rd_channels=4)
    assert layer.fc1.out_channels == 4
    with pytest.raises(TypeError, match=r"'timm/se' takes no argument 'rd_chanels'; did you mean rd_channels"):
        create("timm/se", 32, rd_chanels=4)


def test_unknown_timm_name():
    with pytest.raises(ValueError, match=r"timm has no attention 'ecaa'; did you mean eca"):
        create("timm/ecaa", 32)


def test_patterns_and_kinds():
    assert list_layers(filter="timm/ec*") == ["timm/eca", "timm/ecam"]
    assert list_layers(filter="timm/*", kind="unary") == list_layers(filter="timm/*")
    assert list_layers(filter="timm/*", kind="paired") == []
