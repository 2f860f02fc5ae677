"""The registry: what may be registered, and what an error says."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnzoo
from attnzoo import LayerInfo, create, layer_info, list_layers, register
from tests.layers import cases

FACTS: dict[str, Any] = {"kind": "unary", "paper": "nobody, nowhere", "summary": "Doubles a map."}


class Double(nn.Module):
    """A user's own layer."""

    def __init__(self, channels: int, *, factor: float = 2.0, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.channels = channels
        self.factor = nn.Parameter(torch.full((channels, 1, 1), factor, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_the_seven_layers_and_their_kinds():
    assert {name: layer_info(name).kind for name in list_layers()} == {
        "cbam": "unary",
        "dba": "pyramid",
        "difference_gate": "guided",
        "igc": "unary",
        "llam": "paired",
        "region_mask": "split",
        "se": "unary",
    }
    assert list_layers(kind="unary") == ["cbam", "igc", "se"]
    assert list_layers(filter="*m") == ["cbam", "llam"]
    assert list_layers(filter="no*") == []


def test_every_entry_is_complete():
    for name in list_layers():
        info = layer_info(name)
        assert info.name == name
        assert getattr(attnzoo, info.cls.__name__) is info.cls
        assert info.summary.endswith(".")
        assert "\n" not in info.summary
        assert any(year in info.paper for year in ("2017", "2018", "2020"))


@pytest.mark.usefixtures("own_layers")
def test_a_users_own_layer_registers_the_same_way():
    assert register("double", **FACTS, keeps=["shape", "dtype", "device"], example={"factor": 3.0})(Double) is Double
    assert "double" in list_layers(kind="unary", filter="dou*")
    info = layer_info("double")
    assert info.cls is Double
    assert info.keeps == {"shape", "dtype", "device"}
    assert dict(info.example) == {"factor": 3.0}
    assert dict(info.exceptions) == {}
    layer = create("double", 4, factor=0.5, dtype=torch.float64)
    (x,) = cases.inputs(info, layer, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x / 2)
    with pytest.raises(
        TypeError, match=r"'double' takes no argument 'facter'; did you mean factor\?; allowed: factor, "
    ):
        create("double", 4, facter=1.0)


def test_the_users_layer_of_the_test_before_is_gone():
    assert "double" not in list_layers()


@pytest.mark.usefixtures("own_layers")
def test_a_layer_with_open_keywords_gets_them():
    class Open(Double):
        def __init__(self, channels: int, **kwargs: Any) -> None:
            super().__init__(channels, **kwargs)

    register("open", **FACTS)(Open)
    assert create("open", 1, factor=7.0).factor.item() == 7.0


@pytest.mark.usefixtures("own_layers")
def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match=r"name 'se' is taken by <class '.*SqueezeExcite'>; choose another"):
        register("se", **FACTS)
    register("double", **FACTS)(Double)
    with pytest.raises(ValueError, match=r"name 'double' is taken"):
        register("double", **FACTS)(Double)


@pytest.mark.usefixtures("own_layers")
def test_a_name_is_taken_once_even_by_decorators_made_before():
    """Two decorators made while the name was free: the second must not overwrite the first in silence."""
    first, second = register("double", **FACTS), register("double", **FACTS)
    first(Double)
    with pytest.raises(ValueError, match=r"name 'double' is taken"):
        second(type("Other", (Double,), {}))
    assert layer_info("double").cls is Double


@pytest.mark.parametrize("name", ["", "SE", "my-layer", "2d", "_x", "a b", "timm/se", "é", None, 3])
def test_bad_names(name: Any):
    with pytest.raises(ValueError, match=r"name must be snake_case .*got"):
        register(name, **FACTS)


@pytest.mark.parametrize(
    ("error", "facts", "message"),
    [
        (ValueError, {"kind": "binary"}, r"kind must be one of \('unary', .*\), got 'binary'"),
        (ValueError, {"keeps": ["shape", "colour"]}, r"keeps may hold \('shape', .*\), got \['colour'\]"),
    ],
)
def test_bad_facts(error: type[Exception], facts: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        register("double", **{**FACTS, **facts})


class NoArgument(nn.Module):
    """Takes no channel count."""

    def __init__(self) -> None:
        super().__init__()


class KeywordOnly(nn.Module):
    """Takes its channel count by keyword only."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()


@pytest.mark.usefixtures("own_layers")
@pytest.mark.parametrize(
    "target", [lambda channels: nn.Identity(), Double(3), int, None], ids=["f", "i", "int", "None"]
)
def test_only_module_classes_register(target: Any):
    with pytest.raises(TypeError, match=r"register\('double'\) decorates nn\.Module classes, got"):
        register("double", **FACTS)(target)
    assert "double" not in list_layers()


@pytest.mark.usefixtures("own_layers")
@pytest.mark.parametrize("target", [NoArgument, KeywordOnly])
def test_the_channel_count_is_the_first_positional_argument(target: type[nn.Module]):
    with pytest.raises(
        TypeError, match=rf"{target.__name__} \('double'\) must take the channel count as its first pos"
    ):
        register("double", **FACTS)(target)
    assert "double" not in list_layers()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cban", r"no layer named 'cban'; did you mean cbam"),
        ("SE", r"no layer named 'SE'; did you mean "),
        ("region", r"no layer named 'region'; did you mean region_mask"),
        ("differencegate", r"no layer named 'differencegate'; did you mean difference_gate"),
        ("qqqqqq", r"no layer named 'qqqqqq'; did you mean cbam, dba, difference_gate, igc, llam, region_mask, se\?"),
        (None, r"no layer named None"),
    ],
)
def test_unknown_names_come_with_the_closest(name: Any, message: str):
    for look_up in (layer_info, lambda wrong: create(wrong, 8)):
        with pytest.raises(ValueError, match=message):
            look_up(name)


def test_misspelt_keywords_come_with_the_closest_and_all():
    with pytest.raises(
        TypeError, match=r"'cbam' takes no argument 'kernelsize'; did you mean kernel_size.*; allowed: rd_"
    ):
        create("cbam", 8, kernelsize=3)
    with pytest.raises(TypeError, match=r"'se' takes no argument 'reduction'; did you mean rd_ratio"):
        create("se", 8, reduction=16)


def test_unknown_kind_raises():
    with pytest.raises(ValueError, match=r"kind must be one of .*got 'binary'"):
        list_layers(kind="binary")


def test_layer_info_is_frozen_all_through():
    info = layer_info("cbam")
    assert isinstance(info, LayerInfo)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "other"
    with pytest.raises(TypeError, match="does not support item assignment"):
        info.exceptions["compile"] = "a reason"
    with pytest.raises(TypeError, match="does not support item assignment"):
        info.example["x"] = 1
    with pytest.raises(AttributeError):
        info.keeps.add("colour")
    assert not hasattr(info, "__dict__")


@pytest.mark.usefixtures("own_layers")
def test_facts_are_copied():
    """Changing the caller's dict afterwards must not change the entry."""
    exceptions = {"export": "because of the test that needs a reason"}
    register("double", **FACTS, exceptions=exceptions)(Double)
    exceptions["compile"] = "later"
    assert set(layer_info("double").exceptions) == {"export"}


def test_create_makes_what_the_class_makes():
    torch.manual_seed(0)
    a = create("se", 32, rd_channels=4)
    torch.manual_seed(0)
    b = attnzoo.SqueezeExcite(32, rd_channels=4)
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)
    assert type(a) is type(b)
    assert copy.deepcopy(pickle.loads(pickle.dumps(a))).channels == 32  # noqa: S301 - made on the line itself
