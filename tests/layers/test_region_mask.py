"""RegionMask against the paper's equation, by hand, and on bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnzoo import RegionMask
from tests.oracles.region_mask import region_mask

PAPER = {"upper": (None, 0.0), "middle": (-0.25, 0.25), "lower": (0.0, None)}
FOUR = {"brow": (None, -0.25), "eyes": (-0.25, 0.0), "nose": (-0.125, 0.125), "mouth": (0.125, 0.5)}


def compare(split: RegionMask, x: torch.Tensor, center_row: Any, centers: list[float], frame_height: int) -> None:
    expected = region_mask(x, centers, frame_height, dict(split.regions))
    got = split(x, center_row)
    assert list(got) == list(expected)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("regions", [PAPER, FOUR], ids=["paper", "four"])
@pytest.mark.parametrize("frame_height", [None, 224, 56, 7])
@pytest.mark.parametrize("rows", [1, 7, 8, 56])
def test_agrees_with_the_paper(rows: int, frame_height: int | None, regions: dict[str, Any]):
    x = torch.randn(3, 2, rows, 3, dtype=torch.float64)
    split = RegionMask(2, regions=regions, frame_height=frame_height)
    frame = frame_height or rows
    compare(split, x, None, [frame / 2] * 3, frame)
    compare(split, x, frame / 3, [frame / 3] * 3, frame)
    compare(split, x, frame // 2, [frame // 2] * 3, frame)
    centers = [0.0, 0.4 * frame, float(frame)]
    compare(split, x, torch.tensor(centers, dtype=torch.float64), centers, frame)


def test_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 4, 1)
    regions = RegionMask(1)(x)
    assert regions["upper"].flatten().tolist() == [1, 2, 0, 0]
    assert regions["middle"].flatten().tolist() == [0, 2, 3, 0]
    assert regions["lower"].flatten().tolist() == [0, 0, 3, 4]


def test_the_papers_rows_at_56():
    """Upper 0..27, middle 14..41, lower 28..55 of TRA-Net's 56 rows for a centred face."""
    regions = RegionMask(1, frame_height=224)(torch.ones(1, 1, 56, 1), 112)
    rows = {name: region.flatten().nonzero().flatten().tolist() for name, region in regions.items()}
    assert rows == {"upper": list(range(28)), "middle": list(range(14, 42)), "lower": list(range(28, 56))}


def test_a_centre_for_each_sample_by_hand():
    x = torch.ones(2, 1, 4, 1)
    regions = RegionMask(1, frame_height=8)(x, torch.tensor([2, 6]))
    assert regions["upper"].flatten(1).tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert regions["middle"].flatten(1).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert regions["lower"].flatten(1).tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("rows", [5, 56])
def test_upper_and_lower_divide_the_map(rows: int):
    x = torch.randn(4, 3, rows, 2)
    regions = RegionMask(3)(x, torch.rand(4) * rows)
    torch.testing.assert_close(regions["upper"] + regions["lower"], x, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_masks_do_not_depend_on_the_maps_dtype(dtype: torch.dtype):
    x = torch.ones(2, 1, 300, 1)
    center = torch.tensor([100.3, 207.0])
    reference = RegionMask(1).masks(x, center)
    for name, mask in RegionMask(1).masks(x.to(dtype), center).items():
        assert mask.dtype == dtype
        assert mask.shape == (2, 1, 300, 1)
        torch.testing.assert_close(mask.float(), reference[name], rtol=0, atol=0)


def test_centres_as_a_traced_input():
    """Under compile a tensor of centres stays an input: one graph serves every face."""
    torch.compiler.reset()
    split = RegionMask(2)
    compiled = torch.compile(split, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 2, 6, 3)
    for center in (torch.tensor([3.0, 1.0]), torch.tensor([0.0, 6.0])):
        torch.testing.assert_close(compiled(x, center), split(x, center), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"channels": 0}, r"channels must be at least 1, got 0"),
        (ValueError, {"frame_height": 0}, r"frame_height must be at least 1, got 0"),
        (TypeError, {"frame_height": 224.0}, r"frame_height must be an int, got 224\.0"),
        (TypeError, {"frame_height": True}, r"frame_height must be an int, got True"),
        (ValueError, {"regions": {}}, r"regions must map at least one name .*got \{\}"),
        (ValueError, {"regions": [("up", 0)]}, r"regions must map at least one name"),
        (TypeError, {"regions": {1: (0.0, 1.0)}}, r"regions must have names \(str\) as keys, got 1"),
        (TypeError, {"regions": {"": (0.0, 1.0)}}, r"regions must have names \(str\) as keys, got ''"),
        (TypeError, {"regions": {"up": 0.5}}, r"regions\['up'\] must be a tuple \(top, bottom\), got 0\.5"),
        (TypeError, {"regions": {"up": (0.0,)}}, r"regions\['up'\] must be a tuple"),
        (TypeError, {"regions": {"up": ("top", None)}}, r"regions\['up'\] must be a number, got 'top'"),
        (ValueError, {"regions": {"up": (math.nan, None)}}, r"regions\['up'\] must be finite, got nan"),
        (ValueError, {"regions": {"up": (None, math.inf)}}, r"regions\['up'\] must be finite, got inf"),
        (
            ValueError,
            {"regions": {"up": (0.25, 0.25)}},
            r"regions\['up'\] must have top < bottom, got \(0\.25, 0\.25\)",
        ),
        (ValueError, {"regions": {"up": (0.5, -0.5)}}, r"regions\['up'\] must have top < bottom"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        RegionMask(**{"channels": 2, **options})


@pytest.mark.parametrize(
    ("error", "center_row", "message"),
    [
        (ValueError, -0.5, r"center_row must lie in the frame, 0 to 8, got -0\.5"),
        (ValueError, 8.5, r"center_row must lie in the frame, 0 to 8, got 8\.5"),
        (ValueError, math.nan, r"center_row must lie in the frame, 0 to 8, got nan"),
        (ValueError, math.inf, r"center_row must lie in the frame, 0 to 8, got inf"),
        (ValueError, torch.tensor([4.0, 9.0]), r"center_row must lie in the frame, 0 to 8, got \[4\.0, 9\.0\]"),
        (ValueError, torch.tensor([4.0, math.nan]), r"center_row must lie in the frame"),
        (ValueError, torch.zeros(3), r"center_row must be one number or have shape \(2,\), got shape \(3,\)"),
        (ValueError, torch.zeros(2, 1), r"center_row must be one number or have shape \(2,\), got shape \(2, 1\)"),
        (TypeError, True, r"center_row must be a number or a tensor \(B,\), got True"),
        (TypeError, torch.tensor([True, False]), r"center_row must be a tensor of real numbers, got torch\.bool"),
        (TypeError, torch.tensor([1j, 2j]), r"center_row must be a tensor of real numbers, got torch\.complex64"),
        (TypeError, "middle", r"center_row must be a number or a tensor \(B,\), got 'middle'"),
        (TypeError, [4.0, 4.0], r"center_row must be a number or a tensor \(B,\), got \[4\.0, 4\.0\]"),
    ],
)
def test_bad_centre(error: type[Exception], center_row: Any, message: str):
    with pytest.raises(error, match=message):
        RegionMask(3, frame_height=8)(torch.zeros(2, 3, 4, 4), center_row)


@pytest.mark.parametrize(
    ("error", "x", "message"),
    [
        (ValueError, torch.zeros(2, 2, 4, 4), r"x must have shape \(B, 3, H, W\), got \(2, 2, 4, 4\)"),
        (ValueError, torch.zeros(3, 4, 4), r"x must have shape \(B, 3, H, W\), got \(3, 4, 4\)"),
        (ValueError, torch.zeros(2, 3, 0, 4), r"x must have at least one pixel"),
        (TypeError, torch.zeros(2, 3, 4, 4, dtype=torch.uint8), r"x must be floating, got torch\.uint8"),
        (TypeError, "map", r"x must be a tensor \(B, 3, H, W\), got str"),
    ],
    ids=["channels", "rank", "no pixel", "integers", "no tensor"],
)
def test_bad_input(error: type[Exception], x: Any, message: str):
    with pytest.raises(error, match=message):
        RegionMask(3)(x)
