"""LLAM against the paper's equations, by hand, and on bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnzoo import LLAM
from tests.layers.cases import randomise
from tests.oracles.llam import llam


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_agrees_with_the_paper(kernel_size: int, bias: bool):
    layer = randomise(LLAM(3, kernel_size=kernel_size, bias=bias, dtype=torch.float64))
    previous, current = torch.randn(2, 2, 3, 4, 3, dtype=torch.float64)
    expected = llam(previous, current, layer.conv.weight, layer.conv.bias)
    torch.testing.assert_close(layer(previous, current), expected, rtol=1e-10, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 8], ids=["small maps", "large maps"])
def test_concatenated_or_not_it_is_one_convolution(size: int):
    """Where the weights are far larger than the maps these are concatenated, else not; a watched module is called."""
    layer = randomise(LLAM(48))
    previous, current = torch.randn(2, 1, 48, size, size)
    calls: list[Any] = []
    fast = layer(previous, current)
    layer.conv.register_forward_hook(lambda *call: calls.append(call))
    torch.testing.assert_close(fast, layer(previous, current), rtol=1e-5, atol=1e-5)
    assert len(calls) == 1


def test_shortcut_and_relu_are_those_of_a_residual_block():
    layer = randomise(LLAM(3, dtype=torch.float64))
    previous, current, shortcut = torch.randn(3, 2, 3, 4, 3, dtype=torch.float64)
    gated = llam(previous, current, layer.conv.weight, layer.conv.bias)
    got = layer(previous, current, shortcut=shortcut, relu=True)
    torch.testing.assert_close(got, (gated + shortcut).clamp(min=0), rtol=1e-10, atol=1e-12)


def test_by_hand_1x1():
    """The logit is 2 ln 3 - 4 (ln 3) / 4 = ln 3, the gate 3/4."""
    layer = LLAM(1, kernel_size=1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([1.0, -0.25], dtype=torch.float64).view(1, 2, 1, 1) * math.log(3))
    previous, current = torch.full((1, 1, 1, 1), 2.0).double(), torch.full((1, 1, 1, 1), 4.0).double()
    torch.testing.assert_close(layer(previous, current), torch.full((1, 1, 1, 1), 3.0).double(), rtol=1e-14, atol=0)


def test_by_hand_3x3():
    """Each pixel looks at its left neighbour in the previous map and at the pixel below in the current one."""
    layer = LLAM(1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.weight[0, 0, 1, 0] = math.log(3)
        layer.conv.weight[0, 1, 2, 1] = -math.log(3) / 4
    previous = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]], dtype=torch.float64)
    current = torch.tensor([[[[8.0, 8.0, 8.0], [0.0, 8.0, 4.0]]]], dtype=torch.float64)
    # logits in units of ln 3: row 0: 0 - 0, 1 - 2, 0 - 1; row 1 has nothing below: 0, 0, 1
    expected = torch.tensor([[[[4.0, 2.0, 2.0], [0.0, 4.0, 3.0]]]], dtype=torch.float64)
    torch.testing.assert_close(layer(previous, current), expected, rtol=1e-14, atol=1e-15)


def test_parameter_count_is_that_of_the_convolution():
    assert sum(p.numel() for p in LLAM(64).parameters()) == 2 * 64 * 64 * 9 + 64
    assert sum(p.numel() for p in LLAM(64, kernel_size=1, bias=False).parameters()) == 2 * 64 * 64


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"channels": 0}, r"channels must be at least 1, got 0"),
        (TypeError, {"channels": None}, r"channels must be an int, got None"),
        (ValueError, {"kernel_size": 2}, r"kernel_size must be odd so that the map keeps its size, got 2"),
        (ValueError, {"kernel_size": -3}, r"kernel_size must be at least 1, got -3"),
        (TypeError, {"kernel_size": True}, r"kernel_size must be an int, got True"),
        (TypeError, {"bias": 1}, r"bias must be True or False, got 1"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        LLAM(**{"channels": 4, **options})


GOOD = torch.zeros(2, 4, 5, 3)


@pytest.mark.parametrize(
    ("error", "previous", "current", "message"),
    [
        (ValueError, torch.zeros(2, 3, 5, 3), GOOD, r"previous must have shape \(B, 4, H, W\), got \(2, 3, 5, 3\)"),
        (ValueError, GOOD, torch.zeros(2, 8, 5, 3), r"current must have shape \(B, 4, H, W\), got \(2, 8, 5, 3\)"),
        (ValueError, GOOD, torch.zeros(4, 5, 3), r"current must have shape \(B, 4, H, W\), got \(4, 5, 3\)"),
        (ValueError, torch.zeros(2, 4, 3, 5), GOOD, r"previous must have the shape of current, \(2, 4, 5, 3\), got"),
        (ValueError, torch.zeros(1, 4, 5, 3), GOOD, r"previous must have the shape of current, .*got \(1, 4, 5, 3\)"),
        (TypeError, GOOD.double(), GOOD, r"previous is torch\.float64 but the layer's weights are torch\.float32"),
        (TypeError, GOOD, GOOD.bfloat16(), r"current is torch\.bfloat16 but the layer's weights are torch\.float32"),
        (TypeError, GOOD.int(), GOOD, r"previous must be floating, got torch\.int32"),
        (TypeError, GOOD, None, r"current must be a tensor \(B, 4, H, W\), got NoneType"),
        (ValueError, GOOD[..., :0], GOOD[..., :0], r"previous must have at least one pixel"),
    ],
)
def test_bad_input(error: type[Exception], previous: Any, current: Any, message: str):
    with pytest.raises(error, match=message):
        LLAM(4)(previous, current)
