"""CBAM against the paper's equations, by hand, and on bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from attnzoo import CBAM
from tests.layers.cases import randomise
from tests.oracles import cbam as oracle

OPTIONS: list[dict[str, Any]] = [
    {},
    {"residual": True},
    {"spatial": False},
    {"channel": False},
    {"spatial": False, "residual": True},
    {"channel": False, "residual": True},
    {"norm_layer": None},
    {"norm_layer": None, "kernel_size": 3, "bias": False},
    {"rd_ratio": 0.5, "kernel_size": 1},
    {"rd_channels": 4, "bias": False},
]


def expected_of(layer: CBAM, x: torch.Tensor) -> torch.Tensor:
    mlp = plane = None
    if layer.channel is not None:
        fc1, fc2 = layer.channel.fc1, layer.channel.fc2
        mlp = oracle.Mlp(fc1.weight[:, :, 0, 0], fc1.bias, fc2.weight[:, :, 0, 0], fc2.bias)
    if layer.spatial is not None:
        norm = layer.spatial.norm
        terms = None
        if isinstance(norm, nn.BatchNorm2d):
            terms = (norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
        plane = oracle.Plane(layer.spatial.conv.weight, layer.spatial.conv.bias, terms)
    return oracle.cbam(x, mlp, plane, residual=layer.residual)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_agrees_with_the_paper(options: dict[str, Any]):
    layer = randomise(CBAM(6, **options, dtype=torch.float64)).eval()
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected_of(layer, x), rtol=1e-10, atol=1e-12)


def test_channel_gate_sees_average_and_maximum():
    """Two maps of one average and other maxima, or of one maximum and other averages, get different gates."""
    layer = randomise(CBAM(2, spatial=False, rd_channels=8, dtype=torch.float64))
    base = torch.tensor([[1.0, 3.0, 1.0, 3.0]] * 2, dtype=torch.float64).view(1, 2, 2, 2)
    other_maximum = torch.tensor([[0.0, 4.0, 2.0, 2.0]] * 2, dtype=torch.float64).view(1, 2, 2, 2)
    other_average = torch.tensor([[0.0, 3.0, 0.0, 3.0]] * 2, dtype=torch.float64).view(1, 2, 2, 2)
    (gate,), (by_maximum,), (by_average,) = (layer.gates(x) for x in (base, other_maximum, other_average))
    assert not torch.allclose(gate, by_maximum)
    assert not torch.allclose(gate, by_average)


def test_by_hand():
    """Means (2, 1), maxima (3, 2), both hidden 1, logits +-ln 3: gates 3/4, 1/4; then pixel gates 3/4, 1/4.

    After the channel gate the rows are (.75, 2.25) and (0, .5): channel means (.375, 1.375), maxima (.75, 2.25), and
    with weights (1, -2) and bias 2.125, all times ln 3, the logits are ln 3 and -ln 3.
    """
    log3 = math.log(3)
    layer = CBAM(2, rd_channels=1, kernel_size=1, norm_layer=None, dtype=torch.float64)
    with torch.no_grad():
        layer.channel.fc1.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
        layer.channel.fc1.bias.zero_()
        layer.channel.fc2.weight.copy_(torch.tensor([log3 / 2, -log3 / 2], dtype=torch.float64).view(2, 1, 1, 1))
        layer.channel.fc2.bias.zero_()
        layer.spatial.conv.weight.copy_(torch.tensor([log3, -2 * log3], dtype=torch.float64).view(1, 2, 1, 1))
        layer.spatial.conv.bias.fill_(2.125 * log3)
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]], dtype=torch.float64)
    expected = torch.tensor([[[[0.5625, 0.5625]], [[0.0, 0.125]]]], dtype=torch.float64)
    torch.testing.assert_close(layer(x), expected, rtol=1e-14, atol=1e-15)


def test_halves_that_are_off_have_no_parameters():
    assert {name.split(".")[0] for name in CBAM(8).state_dict()} == {"channel", "spatial"}
    assert {name.split(".")[0] for name in CBAM(8, spatial=False).state_dict()} == {"channel"}
    assert {name.split(".")[0] for name in CBAM(8, channel=False).state_dict()} == {"spatial"}
    assert CBAM(8).spatial.conv.bias is None
    assert CBAM(8, norm_layer=None).spatial.conv.bias is not None


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"channel": False, "spatial": False}, r"channel and spatial are both False"),
        (TypeError, {"channel": 1}, r"channel must be True or False, got 1"),
        (TypeError, {"spatial": 0}, r"spatial must be True or False, got 0"),
        (TypeError, {"residual": "yes"}, r"residual must be True or False, got 'yes'"),
        (TypeError, {"bias": 0}, r"bias must be True or False, got 0"),
        (ValueError, {"kernel_size": 4}, r"kernel_size must be odd so that the map keeps its size, got 4"),
        (ValueError, {"kernel_size": 0}, r"kernel_size must be at least 1, got 0"),
        (TypeError, {"kernel_size": (7, 7)}, r"kernel_size must be an int, got \(7, 7\)"),
        (ValueError, {"channels": -1}, r"channels must be at least 1, got -1"),
        (ValueError, {"rd_ratio": 1.5}, r"rd_ratio must be in \(0, 1\], got 1\.5"),
        (ValueError, {"rd_channels": 0}, r"rd_channels must be at least 1, got 0"),
        (TypeError, {"rd_divisor": 1.0}, r"rd_divisor must be an int, got 1\.0"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        CBAM(**{"channels": 8, **options})


@pytest.mark.parametrize(
    ("error", "x", "message"),
    [
        (ValueError, torch.zeros(2, 7, 3, 3), r"x must have shape \(B, 8, H, W\), got \(2, 7, 3, 3\)"),
        (ValueError, torch.zeros(2, 8, 9), r"x must have shape \(B, 8, H, W\), got \(2, 8, 9\)"),
        (ValueError, torch.zeros(2, 8, 3, 0), r"x must have at least one pixel"),
        (TypeError, torch.zeros(2, 8, 3, 3).int(), r"x must be floating, got torch\.int32"),
        (TypeError, torch.zeros(2, 8, 3, 3).half(), r"x is torch\.float16 but the layer's weights are torch\.float32"),
        (TypeError, None, r"x must be a tensor \(B, 8, H, W\), got NoneType"),
    ],
    ids=["channels", "rank", "no pixel", "integers", "dtype mix", "no tensor"],
)
@pytest.mark.parametrize("options", [{}, {"channel": False}, {"spatial": False}], ids=str)
def test_bad_input(error: type[Exception], options: dict[str, Any], x: Any, message: str):
    with pytest.raises(error, match=message):
        CBAM(8, **options)(x)
