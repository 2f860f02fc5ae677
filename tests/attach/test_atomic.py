"""Whatever goes wrong, the model is as it was; and the error says what was wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attnzoo
from attnzoo.attach.insert.placement import Placement
from tests.attach.cases import images, model_of, snapshot


class SeventhFails(nn.Module):
    """A layer of which the seventh cannot be made."""

    made = 0

    def __init__(self, channels: int) -> None:
        super().__init__()
        type(self).made += 1
        if type(self).made == 7:
            raise ArithmeticError("no seventh")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Halves(nn.Module):
    """A layer that does not keep the map's size."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., ::2]


class Narrow(nn.Conv2d):
    """A layer that ignores the channel count that it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__(7, 7, 1)


FAILURES = [
    ({"layer": "se", "where": "no_such_module"}, ValueError, "no_such_module"),
    ({"layer": "se", "where": "stage", "stages": (9,)}, ValueError, "9"),
    ({"layer": "sse", "where": "stage"}, ValueError, "did you mean"),
    ({"layer": "se", "where": "stage", "rd_ration": 2}, TypeError, "rd_ratio"),
    ({"layer": "se", "where": "stage", "rd_ratio": 2.0}, ValueError, r"rd_ratio must be in"),
    ({"layer": "se", "where": "stage", "init": "zero"}, ValueError, "init must be one of"),
    ({"layer": "se", "where": "stage", "previous": "first_conv"}, ValueError, "for paired layers"),
    ({"layer": "se", "where": "stage", "on_mismatch": "project"}, ValueError, "for paired layers"),
    ({"layer": "llam", "where": "stage", "on_mismatch": "drop"}, ValueError, "on_mismatch must be one of"),
    ({"layer": "llam", "where": "stage", "previous": "conv9"}, ValueError, "previous must be"),
    ({"layer": "llam", "where": "layer2.0"}, ValueError, r"no site is left.*F_pre"),
    ({"layer": "dba", "where": "stage"}, ValueError, "with_pyramid_head"),
    ({"layer": "region_mask", "where": "stage"}, ValueError, "several regions"),
    ({"layer": "difference_gate", "where": "stage"}, ValueError, "multiple of num_maps"),
    ({"layer": Halves, "where": "stage"}, ValueError, "keep the map's shape"),
    ({"layer": Narrow, "where": "stage"}, RuntimeError, "7 channels"),
    ({"layer": nn.Identity(), "where": "stage"}, TypeError, "layer of its own"),
    ({"layer": 3, "where": "stage"}, TypeError, "layer must be"),
    ({"layer": lambda channels: channels, "where": "stage"}, TypeError, r"must make an nn\.Module"),
]


@pytest.mark.parametrize(("arguments", "error", "match"), FAILURES)
def test_a_failure_leaves_the_model_as_it_was(arguments: dict, error: type[Exception], match: str) -> None:
    model = model_of("resnet")
    before = snapshot(model)
    with pytest.raises(error, match=match):
        attnzoo.attach(model, **arguments)
    assert snapshot(model) == before


def test_an_exception_in_the_seventh_constructor_leaves_no_trace_and_names_the_site() -> None:
    model, x = model_of("test_convnext"), images()
    before, bare = snapshot(model), model(x)
    SeventhFails.made = 0
    with pytest.raises(ArithmeticError, match="no seventh") as caught:
        attnzoo.attach(model, SeventhFails, "block")
    assert SeventhFails.made == 7
    assert any("stages.2.blocks.3" in note for note in caught.value.__notes__)
    assert snapshot(model) == before
    assert torch.equal(model(x), bare)


def test_an_interrupt_while_layers_are_put_in_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("test_convnext")
    before = snapshot(model)
    put = Placement.put

    def interrupted(self: Placement, number: int) -> None:
        if self.site.name.startswith("stages.2"):
            raise KeyboardInterrupt
        put(self, number)

    monkeypatch.setattr(Placement, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attnzoo.attach(model, "se", "block")
    assert snapshot(model) == before


def test_a_plan_changes_neither_model_nor_random_state() -> None:
    model = model_of("resnet")
    before, state = snapshot(model), torch.get_rng_state()
    attnzoo.plan(model, "cbam", "block")
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), state)


def site(name: str, channels: int = 4) -> attnzoo.Site:
    return attnzoo.Site(name=name, stage=None, spots=(attnzoo.Spot(layout="NCHW", channels=channels, grid=(8, 8)),))


def test_modules_that_cannot_be_swapped_are_refused_with_the_reason() -> None:
    conv = nn.Conv2d(3, 4, 1)
    model = nn.Module()
    model.listed = nn.ModuleList([conv])
    model.again = conv
    model.traced = torch.fx.symbolic_trace(nn.Sequential(nn.ReLU()))
    for name, reason in [
        ("listed", "no forward of its own"),
        ("traced", "GraphModule"),
    ]:
        with pytest.raises(ValueError, match=reason):
            attnzoo.attach(model, "se", [site(name)])
    with pytest.raises(ValueError, match="one module"):
        attnzoo.attach(model, "se", [site("listed.0"), site("again")])
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        attnzoo.attach("resnet18", "se")  # type: ignore[arg-type]
