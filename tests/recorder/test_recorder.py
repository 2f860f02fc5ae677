"""Passes, strides, limits, statistics and warnings."""

from __future__ import annotations

import gc
import math
import sys
import warnings

import pytest
import torch
from torch import Tensor, nn

import attnzoo
from tests.recorder.given import Given, channel_gate


def coin(p: float) -> float:
    """Entropy of a coin in bits."""
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q)


def test_statistics_are_those_computed_by_hand():
    model = nn.Sequential(Given())
    first = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 4, 1, 1)
    second = torch.tensor([0.005, 0.75, 0.5, 0.995]).view(1, 4, 1, 1)
    with attnzoo.record(model) as r:
        model(first)
        model(second)
    one = r.statistics()["0:given"]
    values = [0.0, 0.25, 0.5, 1.0, 0.005, 0.75, 0.5, 0.995]
    mean = sum(values) / 8
    assert (one.gate, one.shape, one.hard, one.values, one.channels) == ("0:given", (4, 1, 1), False, 8, 4)
    assert one.mean == pytest.approx(mean, abs=1e-6)
    assert one.std == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 8), abs=1e-6)
    assert (one.low, one.high) == (0.0, 1.0)
    assert one.entropy == pytest.approx(sum(map(coin, values)) / 8, abs=1e-6)
    assert one.saturated == pytest.approx(4 / 8)
    assert (one.dead, one.open) == (1, 1)
    assert one.alert() is None
    assert "0:given: mean 0.500 in 0.000 to 1.000" in repr(r)
    assert repr(r).startswith("Recorder: 2 of 2 passes, 1 gates\n")


def test_a_channel_that_wakes_once_is_not_dead():
    model = nn.Sequential(Given())
    with attnzoo.record(model) as r:
        for value in (0.0, 0.0, 0.4):
            model(channel_gate(value, 0.5))
    assert r.statistics()["0:given"].dead == 0


def test_signed_weights_are_dead_only_near_zero():
    model = nn.Sequential(Given())
    with attnzoo.record(model) as r:
        model(torch.tensor([[-0.9, 0.3, 1.7]]))
    one = r.statistics()["0:given"]
    assert (one.shape, one.dead, one.open, one.saturated) == ((3,), 0, 0, 0.0)
    assert one.entropy == pytest.approx(coin(0.3) / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        (channel_gate(0, 0, 0, 0.5), r"0:given: 3 of 4 channels are dead \(always 0, within 0.01\)"),
        (channel_gate(1, 1, 1, 0.5), r"0:given: 3 of 4 channels are open \(always 1, within 0.01\)"),
        (torch.tensor([[[[0.0, 1.0, 1.0, 0.5]]]]), r"0:given: 75% of its values are saturated"),
        (channel_gate(0.5, math.nan), r"0:given holds NaN or infinities"),
        (channel_gate(0.5, math.inf), r"0:given holds NaN or infinities"),
    ],
)
def test_what_is_wrong_is_warned_of(gate: Tensor, sentence: str):
    model = nn.Sequential(Given(gate))
    with pytest.warns(RuntimeWarning, match=f"record: {sentence}"), attnzoo.record(model) as r:
        model(torch.ones(1, 1, 1, 1))
    assert len(r.alerts()) == 1


def test_half_is_not_yet_wrong_and_masks_may_be_what_they_are():
    for model in (nn.Sequential(Given(channel_gate(0, 1, 0.5, 0.5))), nn.Sequential(Given(channel_gate(0, 0), True))):
        with attnzoo.record(model) as r:
            model(torch.ones(1, 1, 1, 1))
        assert r.alerts() == []


def test_a_warning_names_five_gates_and_counts_the_others():
    model = nn.Sequential(*(Given(channel_gate(0.0)) for _ in range(8)))
    with pytest.warns(RuntimeWarning) as caught, attnzoo.record(model):
        model(torch.ones(1, 1, 1, 1))
    assert len(caught) == 1
    assert "4:given" in str(caught[0].message)
    assert "5:given" not in str(caught[0].message)
    assert str(caught[0].message).endswith("; and 3 more")


def test_nothing_recorded_is_said():
    with (
        pytest.warns(RuntimeWarning, match="the model itself was not called in this thread"),
        attnzoo.record(nn.Sequential(Given())),
    ):
        pass
    model = nn.Sequential(nn.ReLU())
    with pytest.warns(RuntimeWarning, match="none of its modules notes a gate"), attnzoo.record(model) as r:
        model(torch.ones(1))
    assert (r.passes, r.recorded, r.statistics(), dict(r.gates)) == (1, 1, {}, {})


def test_an_error_inside_is_not_buried_under_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyError), attnzoo.record(nn.Sequential(Given())):
            raise KeyError("mine")


def test_stride_keep_and_a_second_block():
    model = nn.Sequential(Given())
    r = attnzoo.record(model, stride=3, keep=2)
    with r:
        for value in range(8):
            model(channel_gate(value / 10))
    assert (r.passes, r.recorded) == (8, 3)
    assert [gate.item() for gate in r.history("0:given")] == pytest.approx([0.3, 0.6])
    assert r.statistics()["0:given"].values == 3
    with r:
        model(channel_gate(0.8))  # the ninth pass, not due
        model(channel_gate(0.9))
    assert (r.passes, r.recorded) == (10, 4)
    assert [gate.item() for gate in r.history("0:given")] == pytest.approx([0.6, 0.9])
    with pytest.raises(KeyError, match="no gate '1:given' was recorded; there are 0:given"):
        r.history("1:given")


def test_the_model_is_silent_outside_and_after():
    model = nn.Sequential(Given(), Given())
    with attnzoo.record(model) as r:
        model[0](channel_gate(0.1))
        model(channel_gate(0.5))
    model(channel_gate(0.9))
    assert r.statistics()["0:given"].high == 0.5
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_two_recorders_of_two_models_do_not_mix():
    outer, inner = nn.Sequential(Given()), nn.Sequential(Given())
    with attnzoo.record(outer) as first, attnzoo.record(inner) as second:
        outer(channel_gate(0.25))
        inner(channel_gate(0.75))
    assert first.gates["0:given"].item() == 0.25
    assert second.gates["0:given"].item() == 0.75


def test_large_gates_are_thinned_and_batches_cut():
    model = nn.Sequential(Given())
    gate = torch.rand(6, 2, 40, 30)
    with attnzoo.record(model, images=3, max_elements=1000) as r:
        model(gate)
    kept = r.gates["0:given"]
    assert torch.equal(kept, gate[:3, :, ::3, ::3])  # 3 * 2 * 14 * 10 = 840
    with attnzoo.record(model, images=3, keep=0) as r:
        model(gate)
    assert dict(r.gates) == {}
    assert r.statistics()["0:given"].values == 3 * 2 * 40 * 30


def test_an_empty_batch_counts_nothing():
    model = nn.Sequential(Given())
    with attnzoo.record(model) as r:
        model(torch.ones(0, 4, 1, 1))
    assert r.statistics() == {}


def test_a_thousand_batches_take_no_memory():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), attnzoo.CBAM(8), attnzoo.create("timm/eca", 8)).eval()
    x = torch.rand(2, 3, 8, 8)

    def alive() -> tuple[int, int, int]:
        gc.collect()
        tensors = [each for each in gc.get_objects() if type(each) is Tensor]
        return len(tensors), sum(each.numel() for each in tensors), sys.getallocatedblocks()

    with torch.no_grad(), attnzoo.record(model, keep=3) as r:
        for _ in range(30):
            model(x)
        *before, blocks = alive()
        for _ in range(1000):
            model(x)
        *after, blocks_after = alive()
    assert r.recorded == 1030
    assert after == before
    assert blocks_after - blocks < 500, "less than one Python object for every second batch"


def test_bad_arguments_are_named():
    model = nn.Sequential(Given())
    for arguments, message in (
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"images": 0}, "images must be at least 1, got 0"),
        ({"max_elements": 0}, "max_elements must be at least 1, got 0"),
        ({"keep": -1}, "keep must be an int of at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            attnzoo.record(model, **arguments)
    with pytest.raises(TypeError, match="got str"):
        attnzoo.record("resnet18")
    with pytest.raises(TypeError, match="only must be a shell-style pattern, got 3"):
        attnzoo.record(model, only=3)
    with attnzoo.record(model) as r:
        model(channel_gate(0.5))
        with pytest.raises(RuntimeError, match="in use already"):
            r.__enter__()
    with pytest.raises(ValueError, match=r"gate 0:given must have shape .* got \(3,\)"), attnzoo.record(model):
        model(torch.ones(3))
