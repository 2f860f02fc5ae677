"""DenselyBackwardAttention against the paper's equations, by hand, and on bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnzoo import DenselyBackwardAttention
from tests.layers.cases import randomise
from tests.oracles import dense_backward as oracle

WIDTHS = [(5,), (4, 6), (3, 4, 6), (2, 3, 4, 6), (2, 3, 2, 4, 5)]


def oracle_of(layer: DenselyBackwardAttention, maps: list[torch.Tensor]) -> list[torch.Tensor]:
    extractors = [oracle.Extractor(e.fc1.weight, e.fc1.bias, e.fc2.weight, e.fc2.bias) for e in layer.extractors]
    w11 = [conv.weight for conv in layer.backward_convs] if layer.strategy == "dba" else None
    return oracle.reweighted(maps, extractors, w11)


def pyramid(channels: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Return maps of all shapes: their sizes need not be halves of each other."""
    sizes = [(7, 5), (4, 6), (3, 2), (2, 2), (1, 1)]
    return [torch.randn(2, c, *size, dtype=dtype) for c, size in zip(channels, sizes, strict=False)]


@pytest.mark.parametrize("strategy", ["dba", "aw_o_db"])
@pytest.mark.parametrize("channels", WIDTHS, ids=len)
def test_agrees_with_the_paper(channels: tuple[int, ...], strategy: str):
    layer = randomise(DenselyBackwardAttention(channels, rd_ratio=0.5, strategy=strategy, dtype=torch.float64))
    maps = pyramid(channels)
    with torch.no_grad():
        expected = oracle_of(layer, maps)
        torch.testing.assert_close(layer(maps), oracle.pooled(expected), rtol=1e-10, atol=1e-12)
        layer.output = "maps"
        torch.testing.assert_close(layer(maps), expected, rtol=1e-10, atol=1e-12)


def test_by_hand():
    """Pools 2 and 4, hidden 1 and 1, gates 3/4 and 1/4; w_1 = 2 * 3/4 + 4 * 1/4 = 2.5, w_2 = 1/4."""
    layer = DenselyBackwardAttention([1, 1], dtype=torch.float64)
    with torch.no_grad():
        for extractor, (w1, b1, w2) in zip(layer.extractors, [(1, -1, 1), (-1, 5, -1)], strict=True):
            extractor.fc1.weight.fill_(w1)
            extractor.fc1.bias.fill_(b1)
            extractor.fc2.weight.fill_(w2 * math.log(3))
            extractor.fc2.bias.zero_()
        layer.backward_convs[0].weight.copy_(torch.tensor([[2.0, 4.0]]))
    maps = [torch.tensor([[[[1.0, 3.0]]]]).double(), torch.tensor([[[[4.0]]]]).double()]
    torch.testing.assert_close(layer(maps), torch.tensor([[5.0, 1.0]]).double(), rtol=1e-14, atol=0)
    layer.output = "maps"
    shallow, deep = layer(maps)
    torch.testing.assert_close(shallow, torch.tensor([[[[2.5, 7.5]]]]).double(), rtol=1e-14, atol=0)
    torch.testing.assert_close(deep, torch.tensor([[[[1.0]]]]).double(), rtol=1e-14, atol=0)


def test_by_hand_without_the_backward_step():
    layer = DenselyBackwardAttention([1, 1], strategy="aw_o_db", dtype=torch.float64)
    with torch.no_grad():
        for extractor, (w1, b1, w2) in zip(layer.extractors, [(1, -1, 1), (-1, 5, -1)], strict=True):
            extractor.fc1.weight.fill_(w1)
            extractor.fc1.bias.fill_(b1)
            extractor.fc2.weight.fill_(w2 * math.log(3))
            extractor.fc2.bias.zero_()
    maps = [torch.tensor([[[[1.0, 3.0]]]]).double(), torch.tensor([[[[4.0]]]]).double()]
    torch.testing.assert_close(layer(maps), torch.tensor([[1.5, 1.0]]).double(), rtol=1e-14, atol=0)


def test_weights_have_the_papers_sizes():
    """D = 1024, 1280 and 1408 for W_113, W_112 and W_111 on VGG-16, and a compression ratio of 16."""
    layer = DenselyBackwardAttention([128, 256, 512, 512])
    assert [tuple(conv.weight.shape) for conv in layer.backward_convs] == [(128, 1408), (256, 1280), (512, 1024)]
    assert all(conv.bias is None for conv in layer.backward_convs)
    assert [e.fc1.out_features for e in layer.extractors] == [8, 16, 32, 32]
    assert layer.out_channels == 1408


def test_aw_o_db_has_no_backward_weights():
    assert not [
        name for name in DenselyBackwardAttention([4, 8], strategy="aw_o_db").state_dict() if "backward" in name
    ]


def test_maps_keep_their_memory_format():
    layer = DenselyBackwardAttention([4, 6], output="maps")
    maps = [x.contiguous(memory_format=torch.channels_last) for x in pyramid((4, 6), torch.float32)]
    for given, got in zip(maps, layer(tuple(maps)), strict=True):
        assert got.shape == given.shape
        assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"channels": []}, r"channels must hold at least one channel count, got \[\]"),
        (TypeError, {"channels": 64}, r"channels must be a sequence of channel counts, shallow to deep, got 64"),
        (TypeError, {"channels": None}, r"channels must be a sequence of channel counts, shallow to deep, got None"),
        (TypeError, {"channels": "64"}, r"channels\[0\] must be an int, got '6'"),
        (ValueError, {"channels": [8, 0]}, r"channels\[1\] must be at least 1, got 0"),
        (TypeError, {"channels": [8, 8.0]}, r"channels\[1\] must be an int, got 8\.0"),
        (TypeError, {"channels": [True]}, r"channels\[0\] must be an int, got True"),
        (ValueError, {"strategy": "baseline"}, r"strategy must be one of 'dba', 'aw_o_db', got 'baseline'"),
        (ValueError, {"output": "map"}, r"output must be one of 'vector', 'maps', got 'map'"),
        (ValueError, {"rd_ratio": 0}, r"rd_ratio must be in \(0, 1\], got 0"),
        (ValueError, {"rd_ratio": math.nan}, r"rd_ratio must be finite, got nan"),
        (ValueError, {"rd_divisor": 0}, r"rd_divisor must be at least 1, got 0"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        DenselyBackwardAttention(**{"channels": [4, 8], **options})


F1, F2 = torch.zeros(2, 4, 4, 4), torch.zeros(2, 8, 2, 2)


@pytest.mark.parametrize(
    ("error", "maps", "message"),
    [
        (ValueError, [F1], r"maps must hold 2 tensors \(channels \(4, 8\)\), got 1"),
        (ValueError, [F1, F2, F2], r"maps must hold 2 tensors \(channels \(4, 8\)\), got 3"),
        (ValueError, [], r"maps must hold 2 tensors \(channels \(4, 8\)\), got 0"),
        (TypeError, F1, r"maps must be a sequence of 2 tensors, got Tensor"),
        (TypeError, iter([F1, F2]), r"maps must be a sequence of 2 tensors, got list_iterator"),
        (ValueError, [F2, F1], r"maps\[0\] must have shape \(B, 4, H, W\), got \(2, 8, 2, 2\)"),
        (ValueError, [F1, F2[0]], r"maps\[1\] must have shape \(B, 8, H, W\), got \(8, 2, 2\)"),
        (ValueError, [F1, F2[:, :, :0]], r"maps\[1\] must have at least one pixel"),
        (ValueError, [F1, F2[:1]], r"maps must share one batch size, got \[2, 1\]"),
        (TypeError, [F1, F2.double()], r"maps\[1\] is torch\.float64 but the layer's weights are torch\.float32"),
        (TypeError, [F1.int(), F2], r"maps\[0\] must be floating, got torch\.int32"),
        (TypeError, [F1, None], r"maps\[1\] must be a tensor \(B, 8, H, W\), got NoneType"),
    ],
)
def test_bad_input(error: type[Exception], maps: Any, message: str):
    with pytest.raises(error, match=message):
        DenselyBackwardAttention([4, 8])(maps)
