"""SqueezeExcite against the paper's equations, by hand, against timm's, and on bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from attnzoo import SqueezeExcite
from tests.layers.cases import randomise
from tests.oracles.squeeze_excite import squeeze_excite

OPTIONS: list[dict[str, Any]] = [
    {},
    {"residual": True},
    {"bias": False},
    {"bias": False, "residual": True, "rd_channels": 3},
    {"rd_ratio": 0.5},
    {"rd_ratio": 1.0, "rd_divisor": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_agrees_with_the_paper(options: dict[str, Any]):
    layer = randomise(SqueezeExcite(6, **options, dtype=torch.float64))
    x = torch.randn(3, 6, 4, 3, dtype=torch.float64)
    w1, w2 = layer.fc1.weight[:, :, 0, 0], layer.fc2.weight[:, :, 0, 0]
    expected = squeeze_excite(x, w1, layer.fc1.bias, w2, layer.fc2.bias, residual=options.get("residual", False))
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_shortcut_and_relu_are_those_of_a_residual_block(options: dict[str, Any]):
    layer = randomise(SqueezeExcite(6, **options, dtype=torch.float64))
    x, shortcut = torch.randn(2, 3, 6, 4, 3, dtype=torch.float64)
    expected = (layer(x) + shortcut).clamp(min=0)
    assert 0 < int((expected == 0).sum()) < expected.numel()
    torch.testing.assert_close(layer(x, shortcut=shortcut, relu=True), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
def test_by_hand(residual: bool):
    """Means 2 and -2; hidden relu(2 - 1 + 1) = 2; logits +-ln 3; gates 3/4 and 1/4."""
    layer = SqueezeExcite(2, rd_channels=1, residual=residual, dtype=torch.float64)
    with torch.no_grad():
        layer.fc1.weight.copy_(torch.tensor([1.0, 0.5]).view(1, 2, 1, 1))
        layer.fc1.bias.fill_(1.0)
        layer.fc2.weight.copy_(torch.tensor([math.log(3) / 2, -math.log(3) / 2], dtype=torch.float64).view(2, 1, 1, 1))
        layer.fc2.bias.zero_()
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, -4.0]]]], dtype=torch.float64)
    expected = [[[1.75, 5.25]], [[0.0, -5.0]]] if residual else [[[0.75, 2.25]], [[0.0, -1.0]]]
    torch.testing.assert_close(layer(x), torch.tensor([expected], dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({}, 6),
        ({"rd_ratio": 1 / 4}, 24),
        ({"rd_ratio": 1 / 18}, 5),
        ({"rd_ratio": 0.1}, 10),
        ({"rd_divisor": 4}, 8),
        ({"rd_divisor": 8}, 8),
        ({"rd_ratio": 1 / 1000}, 1),
        ({"rd_channels": 5, "rd_divisor": 8}, 5),
    ],
    ids=str,
)
def test_bottleneck_width(options: dict[str, Any], width: int):
    assert SqueezeExcite(96, **options).fc1.weight.shape == (width, 96, 1, 1)


@pytest.mark.parametrize("channels", [8, 30, 48, 64, 100])
@pytest.mark.parametrize("bias", [True, False])
def test_loads_timm_weights_strictly_and_gives_the_same(channels: int, bias: bool):
    from timm.layers import SEModule

    theirs = randomise(SEModule(channels, bias=bias).double())
    ours = SqueezeExcite(channels, rd_divisor=8, bias=bias, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, channels, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-13, atol=1e-13)


def test_activation_and_gate_are_the_callers():
    x = torch.randn(2, 8, 3, 3)
    layer = SqueezeExcite(8, act_layer=nn.SiLU, gate_layer=nn.Hardsigmoid)
    squeezed = layer.fc2(nn.functional.silu(layer.fc1(x.mean((2, 3), keepdim=True))))
    torch.testing.assert_close(layer(x), x * nn.functional.hardsigmoid(squeezed))


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"channels": 0}, r"channels must be at least 1, got 0"),
        (TypeError, {"channels": 8.0}, r"channels must be an int, got 8\.0"),
        (TypeError, {"channels": "8"}, r"channels must be an int, got '8'"),
        (ValueError, {"rd_ratio": 0.0}, r"rd_ratio must be in \(0, 1\], got 0\.0"),
        (ValueError, {"rd_ratio": 16}, r"rd_ratio must be in \(0, 1\], got 16"),
        (ValueError, {"rd_ratio": math.nan}, r"rd_ratio must be finite, got nan"),
        (TypeError, {"rd_ratio": "1/16"}, r"rd_ratio must be a number, got '1/16'"),
        (TypeError, {"rd_ratio": True}, r"rd_ratio must be a number, got True"),
        (ValueError, {"rd_channels": 0}, r"rd_channels must be at least 1, got 0"),
        (TypeError, {"rd_channels": True}, r"rd_channels must be an int, got True"),
        (ValueError, {"rd_divisor": -8}, r"rd_divisor must be at least 1, got -8"),
        (TypeError, {"bias": 1}, r"bias must be True or False, got 1"),
        (TypeError, {"residual": None}, r"residual must be True or False, got None"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        SqueezeExcite(**{"channels": 8, **options})


@pytest.mark.parametrize(
    ("error", "x", "message"),
    [
        (ValueError, torch.zeros(2, 7, 3, 3), r"x must have shape \(B, 8, H, W\), got \(2, 7, 3, 3\)"),
        (ValueError, torch.zeros(8, 3, 3), r"x must have shape \(B, 8, H, W\), got \(8, 3, 3\)"),
        (ValueError, torch.zeros(2, 8, 3, 3, 3), r"x must have shape \(B, 8, H, W\)"),
        (ValueError, torch.zeros(2, 8, 0, 3), r"x must have at least one pixel, got shape \(2, 8, 0, 3\)"),
        (TypeError, torch.zeros(2, 8, 3, 3).long(), r"x must be floating, got torch\.int64"),
        (
            TypeError,
            torch.zeros(2, 8, 3, 3).double(),
            r"x is torch\.float64 but the layer's weights are torch\.float32",
        ),
        (TypeError, [[1.0]], r"x must be a tensor \(B, 8, H, W\), got list"),
    ],
    ids=["channels", "rank 3", "rank 5", "no pixel", "integers", "dtype mix", "no tensor"],
)
def test_bad_input(error: type[Exception], x: Any, message: str):
    with pytest.raises(error, match=message):
        SqueezeExcite(8)(x)
