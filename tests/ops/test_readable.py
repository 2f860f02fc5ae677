"""Tensors beside a map whose memory no kernel may read: torch's operators take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnzoo import CBAM, ops
from attnzoo.ops import eligibility, igc
from attnzoo.ops.dense import winograd
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.ops.halved import Halved
from tests.ops.unusual import Marked

BESIDE: dict[str, Callable[..., Any]] = {
    "squeeze_channels": lambda x, given, **kwargs: ops.squeeze_channels(x, given(x[:, :, :1, :1].clone()), **kwargs)[0],
    "apply_gates": lambda x, given, **kwargs: ops.apply_gates(x, (given(x[:, :1].clone()),), **kwargs),
    "apply_gates' blend": lambda x, given, **kwargs: ops.apply_gates(
        x, (x[:, :1],), blend=given(x[0, 0, 0, 0]), **kwargs
    ),
    "llam_gate": lambda x, given, **kwargs: ops.llam_gate(x, given(x), **kwargs),
    "spatial_conv": lambda x, given, **kwargs: ops.spatial_conv(x, given(torch.ones(1, 2, 3, 3)), **kwargs),
    "spatial_conv's bias": lambda x, given, **kwargs: ops.spatial_conv(
        x, torch.ones(1, 2, 3, 3), given(torch.ones(1)), **kwargs
    ),
    "linear": lambda x, given, **kwargs: ops.linear(x[0, 0], given(torch.ones(3, 5)), **kwargs),
    "linear's bias": lambda x, given, **kwargs: ops.linear(x[0, 0], torch.ones(3, 5), given(torch.ones(3)), **kwargs),
    "linears": lambda x, given, **kwargs: ops.linears(
        x[0, 0], [ops.LinearLayer(torch.ones(3, 5)), ops.LinearLayer(given(torch.ones(2, 3)))], **kwargs
    ),
}


@native_only
@pytest.mark.parametrize("call", BESIDE)
def test_tensors_that_hold_no_memory_are_torchs(call: str):
    x = torch.randn(2, 2, 4, 5).half().float()
    expected = BESIDE[call](x, lambda t: t)
    torch.testing.assert_close(BESIDE[call](x, lambda t: Halved(t.half())), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match="all tensors must be plain dense ones"):
        BESIDE[call](x, lambda t: Halved(t.half()), backend="native")


def stages(given: Callable[[Tensor], Tensor]) -> list[igc.Stage]:
    """Return a block's, of 6 channels in 2 groups, with weights as they are given."""
    made = []
    for weight in (torch.randn(6, 3, 3, 3), torch.randn(6, 2, 1, 1), torch.randn(8, 6, 1, 1)):
        mean, variance = torch.zeros(len(weight)), torch.ones(len(weight))
        made.append(igc.Stage(given(weight.half().float()), None, None, None, mean, variance, 1e-5))
    return made


@native_only
@pytest.mark.parametrize("block", [igc.igc_block, igc.igc_training])
def test_a_block_reads_no_such_weights(block: Callable[..., Any]):
    x, made = torch.randn(2, 6, 9, 9), []
    for given in (lambda t: t, lambda t: Halved(t.half())):
        torch.manual_seed(0)
        with torch.no_grad():
            made.append(block(x, stages(given), groups=2).map)
    torch.testing.assert_close(*made, rtol=1e-4, atol=1e-5)
    with torch.no_grad(), pytest.raises(RuntimeError, match="all tensors must be plain dense ones"):
        block(x, stages(lambda t: Halved(t.half())), groups=2, backend="native")


@native_only
def test_winograd_reads_no_maps_with_operators_of_their_own():
    weight, x = torch.ones(32, 32, 3, 3), torch.ones(1, 32, 40, 40).to(memory_format=torch.channels_last)
    assert winograd.applies(weight, x, x)
    assert not winograd.applies(weight, x, x.as_subclass(Marked))


@native_only
def test_a_gate_reads_no_such_statistics():
    layer, x = randomise(CBAM(8)).eval().half().float(), torch.randn(4, 8, 6, 6)
    expected, norm = layer(x), layer.spatial.norm
    norm.running_mean, norm.running_var = Halved(norm.running_mean.half()), Halved(norm.running_var.half())
    torch.testing.assert_close(layer(x), expected)


def test_plain_dense_tensors_are_readable():
    x = torch.ones(4, 4)
    assert eligibility.plain(x, None, nn.Parameter(x), x.t()[::2])
    assert not eligibility.plain(x, Halved(x.half()))
    assert not eligibility.plain(x, x.to_sparse())
