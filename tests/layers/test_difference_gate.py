"""DifferenceGate and threshold_maps against the paper, by hand, and on bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnzoo import DifferenceGate, threshold_maps
from tests.oracles import difference_gate as oracle

FORMS = {
    "stack": oracle.stack,
    "add": lambda x, maps: oracle.in_place(x, maps, add=True),
    "multiply": lambda x, maps: oracle.in_place(x, maps, add=False),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_maps", [1, 2, 5])
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_the_paper(form: str, num_maps: int, dtype: torch.dtype):
    """Binary maps multiply by 0, 1 or 2, which rounds nothing: equality is exact in every dtype."""
    x = torch.randn(3, 2 * (num_maps + 1), 4, 3, dtype=dtype)
    maps = (torch.rand(3, num_maps, 4, 3) > 0.5).float()
    got = DifferenceGate(x.shape[1], num_maps=num_maps, form=form)(x, maps)
    torch.testing.assert_close(got, FORMS[form](x, maps.to(dtype)), rtol=0, atol=0)


def test_by_hand():
    """Two maps, 1 and 0 on the left pixel, 0 and 1 on the right one."""
    x = torch.tensor([[[[1.0, 10.0]], [[2.0, 20.0]], [[3.0, 30.0]]]])
    maps = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])

    def rows(form: str) -> list[list[float]]:
        return DifferenceGate(3, num_maps=2, form=form)(x, maps).flatten(2)[0].tolist()

    assert rows("add") == [[1, 10], [4, 20], [3, 60]]
    assert rows("multiply") == [[1, 10], [2, 0], [0, 30]]
    assert rows("stack") == [[1, 10], [2, 20], [3, 30], [1, 0], [2, 0], [3, 0], [0, 10], [0, 20], [0, 30]]


def test_a_face_and_five_maps_give_the_papers_18_channels():
    layer = DifferenceGate(3, form="stack")
    assert layer.out_channels == 18
    assert layer(torch.rand(1, 3, 4, 4), torch.ones(1, 5, 4, 4)).shape == (1, 18, 4, 4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_threshold_maps_agree_with_the_paper(dtype: torch.dtype):
    difference = torch.randint(20, 60, (2, 1, 6, 5)).to(dtype)
    for thresholds in ([30, 35, 40, 45, 50], [0, 255], [29.5]):
        expected = oracle.threshold_maps(difference, thresholds)
        torch.testing.assert_close(threshold_maps(difference, thresholds), expected, rtol=0, atol=0)
    torch.testing.assert_close(
        threshold_maps(difference), oracle.threshold_maps(difference, [30, 35, 40, 45, 50]), rtol=0, atol=0
    )


def test_threshold_maps_by_hand():
    """At or above the threshold is 1: 35 opens the first two maps, 34 only the first."""
    maps = threshold_maps(torch.tensor([[[[29, 30, 34], [35, 50, 255]]]], dtype=torch.uint8))
    assert maps.dtype == torch.float32
    assert maps[0].flatten(1).tolist() == [
        [0, 1, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]


def test_a_threshold_keeps_the_images_precision():
    """30.1 is above itself rounded down; a float64 image is compared with a float64 threshold."""
    difference = torch.tensor([[[[30.1, math.nextafter(30.1, 0)]]]], dtype=torch.float64)
    assert threshold_maps(difference, [30.1]).flatten().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"channels": 0}, r"channels must be at least 1, got 0"),
        (ValueError, {"channels": 20}, r"channels must be a multiple of num_maps \+ 1 = 6 in form 'add', got 20"),
        (
            ValueError,
            {"channels": 3, "num_maps": 3, "form": "multiply"},
            r"channels must be a multiple of num_maps \+ 1 = 4 in form 'multiply', got 3",
        ),
        (ValueError, {"num_maps": 0}, r"num_maps must be at least 1, got 0"),
        (TypeError, {"num_maps": True}, r"num_maps must be an int, got True"),
        (TypeError, {"num_maps": 5.0}, r"num_maps must be an int, got 5\.0"),
        (ValueError, {"form": "mul"}, r"form must be one of 'stack', 'add', 'multiply', got 'mul'"),
        (ValueError, {"form": None}, r"form must be one of .*got None"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        DifferenceGate(**{"channels": 18, **options})


X, MAPS = torch.zeros(2, 18, 4, 3), torch.zeros(2, 5, 4, 3)


@pytest.mark.parametrize(
    ("error", "x", "maps", "message"),
    [
        (ValueError, X[:, :12], MAPS, r"x must have shape \(B, 18, H, W\), got \(2, 12, 4, 3\)"),
        (ValueError, X[0], MAPS, r"x must have shape \(B, 18, H, W\), got \(18, 4, 3\)"),
        (ValueError, X, MAPS[:, :4], r"maps must have shape \(B, 5, H, W\), got \(2, 4, 4, 3\)"),
        (ValueError, X, MAPS[:, 0], r"maps must have shape \(B, 5, H, W\), got \(2, 4, 3\)"),
        (
            ValueError,
            X,
            MAPS[:1],
            r"maps must have shape \(2, 5, 4, 3\) to go with x \(2, 18, 4, 3\), got \(1, 5, 4, 3\)",
        ),
        (ValueError, X, MAPS[:, :, :2], r"maps must have shape \(2, 5, 4, 3\) to go with x .*got \(2, 5, 2, 3\)"),
        (TypeError, X.int(), MAPS, r"x must be floating, got torch\.int32"),
        (TypeError, X, MAPS.bool(), r"maps must be floating, got torch\.bool"),
        (TypeError, X, None, r"maps must be a tensor \(B, 5, H, W\), got NoneType"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_bad_input(form: str, error: type[Exception], x: Any, maps: Any, message: str):
    with pytest.raises(error, match=message):
        DifferenceGate(18, form=form)(x, maps)


GREY = torch.zeros(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("error", "difference", "thresholds", "message"),
    [
        (ValueError, torch.zeros(1, 3, 4, 4), [30], r"difference must have shape \(B, 1, H, W\), got \(1, 3, 4, 4\)"),
        (ValueError, torch.zeros(4, 4), [30], r"difference must have shape \(B, 1, H, W\), got \(4, 4\)"),
        (TypeError, [[30]], [30], r"difference must be a tensor \(B, 1, H, W\), got list"),
        (ValueError, GREY, [], r"thresholds must hold at least one grey level, got \[\]"),
        (ValueError, GREY, [30, math.nan], r"thresholds must be grey levels in \[0, 255\], got nan"),
        (ValueError, GREY, [-1], r"thresholds must be grey levels in \[0, 255\], got -1"),
        (ValueError, GREY, [256.0], r"thresholds must be grey levels in \[0, 255\], got 256\.0"),
        (ValueError, GREY, [math.inf], r"thresholds must be grey levels in \[0, 255\], got inf"),
        (TypeError, GREY, [True], r"thresholds must be numbers, got True"),
        (TypeError, GREY, ["30"], r"thresholds must be numbers, got '30'"),
        (TypeError, GREY, 30, r"thresholds must be a sequence of grey levels, got 30"),
        (TypeError, GREY, torch.tensor([30.0, 40.0]), r"thresholds must be a sequence of grey levels, got tensor"),
    ],
)
def test_bad_thresholds(error: type[Exception], difference: Any, thresholds: Any, message: str):
    with pytest.raises(error, match=message):
        threshold_maps(difference, thresholds)
