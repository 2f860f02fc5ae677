"""Tensors beside a map whose memory no kernel may read: torch's operators take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from attnzoo import CBAM, ops
from attnzoo.ops import dispatch, winograd
from attnzoo.ops.igc_stage import Stage
from attnzoo.ops.igc_training import igc_training
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.ops.halved import Halved

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


@native_only
def test_a_blocks_training_reads_no_such_parameters():
    weights = torch.randn(6, 3, 3, 3), torch.randn(6, 2, 1, 1), torch.randn(8, 6, 1, 1)
    x = torch.randn(2, 6, 9, 9)

    def stages(given: Callable[[torch.Tensor], torch.Tensor]) -> list[Stage]:
        nothing = torch.empty(0)
        return [Stage(given(weight.half().float()), None, None, None, nothing, nothing, 1e-5) for weight in weights]

    expected, _ = igc_training(x, stages(lambda t: t), groups=2)
    with pytest.raises(RuntimeError, match="all tensors must be plain dense ones"):
        igc_training(x, stages(lambda t: Halved(t.half())), groups=2, backend="native")
    torch.testing.assert_close(igc_training(x, stages(lambda t: Halved(t.half())), groups=2).map, expected)


@native_only
def test_winograd_reads_no_such_weights():
    weight, bias, x = torch.ones(32, 32, 3, 3), torch.ones(32), torch.ones(1, 32, 40, 40)
    x = x.to(memory_format=torch.channels_last)
    assert winograd.applies(weight, bias, x)
    assert not winograd.applies(Halved(weight.half()), bias, x)
    assert not winograd.applies(weight, Halved(bias.half()), x)


@native_only
def test_a_gate_reads_no_such_statistics():
    layer, x = randomise(CBAM(8)).eval().half().float(), torch.randn(4, 8, 6, 6)
    expected, norm = layer(x), layer.spatial.norm
    norm.running_mean, norm.running_var = Halved(norm.running_mean.half()), Halved(norm.running_var.half())
    torch.testing.assert_close(layer(x), expected)


def test_plain_dense_tensors_are_readable():
    x = torch.ones(4, 4)
    assert dispatch.readable(x, None, nn.Parameter(x), x.t()[::2])
    assert not dispatch.readable(x, Halved(x.half()))
    assert not dispatch.readable(x, x.to_sparse())
