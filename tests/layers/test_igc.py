"""IGCBlock and InterleavedGroupConv against the paper's equations, by hand, and on bad input."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from attnzoo import IGCBlock, InterleavedGroupConv, SqueezeExcite, ops
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.oracles import igc as oracle


def stage(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> oracle.Stage:
    statistics = None if norm.training else (norm.running_mean.clone(), norm.running_var.clone())
    return oracle.Stage(conv.weight.detach(), conv.bias.detach(), statistics, (norm.weight, norm.bias), norm.eps)


def stages(block: IGCBlock) -> tuple[oracle.Stage, oracle.Stage, oracle.Stage]:
    branch = block.branch
    return stage(branch.conv1, branch.norm1), stage(branch.conv2, branch.norm2), stage(block.fuse, block.norm)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("connection", ["res", "dense"])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_block_agrees_with_the_paper(groups: int, connection: str, training: bool):
    block = randomise(IGCBlock(6, groups=groups, connection=connection, out_channels=4, dtype=torch.float64))
    block.train(training)
    x = torch.randn(2, 6, 3, 2, dtype=torch.float64)
    with torch.no_grad():
        expected = oracle.block(x, stages(block), groups, dense=connection == "dense")
        torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-12)
    assert bool((expected > 0).any()), "all outputs are cut off by the last ReLU"


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("channels", "out_channels", "groups"), [(6, 6, 3), (4, 8, 2), (6, 12, 6), (8, 4, 4)])
def test_interleaved_agrees_with_the_paper(channels: int, out_channels: int, groups: int, stride: int):
    layer = InterleavedGroupConv(channels, out_channels, groups=groups, stride=stride, dtype=torch.float64)
    randomise(layer).eval()
    x = torch.randn(2, channels, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        first, second = stage(layer.conv1, layer.norm1), stage(layer.conv2, layer.norm2)
        expected = oracle.interleaved(x, first, second, groups, stride)
        assert expected.shape == (2, out_channels, -(-5 // stride), -(-4 // stride))
        torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("connection", "fuse", "expected"), [("res", [1, -1, 2, 0.5], 11.0), ("dense", [1, 1, 1, 1, -1, 1, 1, 1], 24.0)]
)
def test_by_hand(connection: str, fuse: list[float], expected: float):
    """One pixel, two groups of two, every norm the identity.

    x = (1, 2, 3, 4); W1 turns the second channel's sign, relu leaves (1, 0, 3, 4). The partitions are (1, 3) and
    (0, 4); [[1, 1], [1, -3]] and [[2, 0], [0, 3]] make (4, -8) and (0, 12); back in place: (4, 0, -8, 12).
    res: + x, relu: (5, 2, 0, 16). dense: (4, 0, 0, 12, 1, 2, 3, 4).
    """
    block = IGCBlock(4, groups=2, connection=connection, out_channels=1, dtype=torch.float64).eval()
    first = torch.tensor([[[1, 0], [0, -1]], [[1, 0], [0, 1]]]).double()
    second = torch.tensor([[[1, 1], [1, -3]], [[2, 0], [0, 3]]]).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        for norm in (block.branch.norm1, block.branch.norm2, block.norm):
            norm.weight.fill_(1.0)
            norm.running_var.fill_(1 - norm.eps)
        block.branch.conv1.weight[:, :, 1, 1] = first.view(4, 2)
        block.branch.conv2.weight[:, :, 0, 0] = second.view(4, 2)
        block.fuse.weight[0, :, 0, 0] = torch.tensor(fuse).double()
        x = torch.tensor([1.0, 2.0, 3.0, 4.0]).double().view(1, 4, 1, 1)
        torch.testing.assert_close(block(x).item(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_block_keeps_the_memory_format_in_inference(layout: torch.memory_format):
    block = randomise(IGCBlock(12, groups=3)).eval()
    x = torch.randn(2, 12, 8, 6).contiguous(memory_format=layout)
    with torch.no_grad():
        for y in (block(x), block.pooled(x)):
            assert y.is_contiguous(memory_format=layout)
            assert not y.is_contiguous() or layout is torch.contiguous_format


def test_the_convolution_keeps_the_memory_format():
    """A shuffle by reshape would silently turn channels-last into contiguous between the two convolutions."""
    layer = InterleavedGroupConv(12, groups=3).to(memory_format=torch.channels_last)
    x = torch.randn(2, 12, 7, 5).contiguous(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []
    layer.conv2.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("groups", "connection"), [(1, "res"), (3, "dense"), (4, "res"), (12, "dense")])
def test_gradients_and_statistics_are_those_with_permutations(
    groups: int, connection: str, training: bool, momentum: float | None
):
    """A watched convolution is called between two permutations; else one dense convolution takes their place."""
    short = randomise(IGCBlock(12, groups=groups, connection=connection, dtype=torch.float64)).train(training)
    for norm in (short.branch.norm1, short.branch.norm2, short.norm):
        norm.momentum = momentum
    long = copy.deepcopy(short)
    calls: list[int] = []
    long.branch.conv2.register_forward_hook(lambda *_: calls.append(1))
    inputs = [torch.randn(3, 12, 5, 6, dtype=torch.float64).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    gradient = torch.randn_like(inputs[0])
    for block, x in zip((short, long), inputs, strict=True):
        for _ in range(2):
            y = block(x)
        y.backward(gradient)
    assert calls == [1, 1]
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-10, atol=1e-12)
    for (name, ours), theirs in zip(short.named_parameters(), long.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12, msg=name)
    for (name, ours), theirs in zip(short.named_buffers(), long.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0, msg=name)


def trained(block: IGCBlock, x: torch.Tensor, pool: bool, backend: str) -> list[torch.Tensor]:
    """Return map, gradients but those of biases in front of norms, which are 0 or rounding, and statistics."""
    own = copy.deepcopy(block)
    given = x.clone().requires_grad_()
    with ops.backend(backend):
        for _ in range(2):
            y = own.pooled(given) if pool else own(given)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape).to(y.dtype))
    learned = [p.grad for k, p in enumerate(own.parameters()) if k % 4 != 1]
    return [y.detach(), given.grad, *learned, *own.buffers()]


@native_only
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(("groups", "connection"), [(12, "res"), (4, "dense")])
def test_trains_by_passes_as_by_modules(groups: int, connection: str, pool: bool):
    block = randomise(IGCBlock(12, groups=groups, connection=connection, out_channels=20))
    block.branch.norm1.momentum, block.norm.momentum = None, 0.3
    block.branch.norm2.num_batches_tracked = None
    x = torch.randn(4, 12, 25, 31)
    assert block.trains_by_passes(x)
    results = [trained(block, x, pool, backend) for backend in ("native", "torch")]
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        assert block(x).shape == (4, 20, 25, 31)
        last = x.contiguous(memory_format=torch.channels_last)
        assert block(last).is_contiguous(memory_format=torch.channels_last)


@native_only
def test_modules_are_called_where_passes_may_not_be_taken():
    x = torch.randn(2, 12, 20, 20)
    changes: dict[str, Callable[[IGCBlock], object]] = {
        "forward hook": lambda b: b.branch.conv2.register_forward_hook(lambda *_: None),
        "backward hook": lambda b: b.branch.norm1.register_full_backward_hook(lambda *_: None),
        "frozen norm": lambda b: b.norm.eval(),
        "no statistics": lambda b: setattr(b, "norm", nn.BatchNorm2d(12, track_running_stats=False)),
        "other norm": lambda b: setattr(b.branch, "norm2", nn.InstanceNorm2d(12, affine=True)),
        "adapter": lambda b: setattr(b, "fuse", nn.Sequential(b.fuse)),
        "branch layer": lambda b: setattr(b, "branch_layer", SqueezeExcite(12)),
        "evaluation": lambda b: b.eval(),
    }
    assert IGCBlock(12, groups=12).trains_by_passes(x)
    for name, change in changes.items():
        block = IGCBlock(12, groups=12)
        change(block)
        assert not block.trains_by_passes(x), name
        if name != "adapter":
            assert block.pooled(x).shape == (2, 12, 10, 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert not IGCBlock(12, groups=12).trains_by_passes(x)
    block, seen = IGCBlock(12, groups=12), []
    block.register_forward_hook(lambda *_: seen.append(1))
    block.pooled(x)
    assert seen == [1]


@pytest.mark.parametrize("training", [False, True])
def test_pooled_is_what_pooling_makes_of_it(training: bool):
    block = randomise(IGCBlock(6, groups=3, dtype=torch.float64)).train(training)
    for size in ((4, 6), (5, 7)):
        x = torch.randn(2, 6, *size, dtype=torch.float64)
        torch.testing.assert_close(block.pooled(x), nn.functional.max_pool2d(block(x), 2))
    with pytest.raises(RuntimeError, match="Output size is too small"):
        block.pooled(torch.randn(2, 6, 1, 6, dtype=torch.float64))


def test_every_output_sees_every_input():
    """What interleaving is for: two sparse convolutions reach from each channel to each other one."""
    layer = randomise(InterleavedGroupConv(12, groups=3, dtype=torch.float64)).eval()
    x = torch.randn(1, 12, 1, 1, dtype=torch.float64) + 3
    with torch.no_grad():
        layer.norm1.bias.fill_(10.0)  # keeps ReLU open
    jacobian = torch.autograd.functional.jacobian(lambda value: layer(value).flatten(), x).flatten(1)
    assert bool((jacobian != 0).all())


def test_a_layer_at_the_branchs_end_acts_before_the_connection():
    plain = randomise(IGCBlock(6, groups=3, dtype=torch.float64)).eval()
    gated = IGCBlock(6, groups=3, branch_layer=lambda c: SqueezeExcite(c, dtype=torch.float64), dtype=torch.float64)
    gated.load_state_dict(plain.state_dict(), strict=False)
    gated.eval()
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        branch = gated.branch_layer(plain.branch(x))
        expected = torch.relu(plain.norm(plain.fuse(torch.relu(branch + x))))
        torch.testing.assert_close(gated(x), expected)
        assert not torch.allclose(gated(x), plain(x))


def test_reset_parameters_reaches_the_branch_layer():
    block = IGCBlock(6, groups=3, branch_layer=SqueezeExcite)
    before = block.branch_layer.fc1.weight.clone()
    block.reset_parameters()
    assert not torch.equal(block.branch_layer.fc1.weight, before)


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"groups": 4}, r"groups must divide channels=18, got 4"),
        (ValueError, {"groups": 36}, r"groups must divide channels=18, got 36"),
        (ValueError, {"groups": 0}, r"groups must be at least 1, got 0"),
        (TypeError, {"groups": True}, r"groups must be an int, got True"),
        (TypeError, {"groups": 2.0}, r"groups must be an int, got 2\.0"),
        (ValueError, {"connection": "residual"}, r"connection must be one of 'res', 'dense', got 'residual'"),
        (ValueError, {"out_channels": 0}, r"out_channels must be at least 1, got 0"),
        (TypeError, {"out_channels": "36"}, r"out_channels must be an int, got '36'"),
        (ValueError, {"channels": -18}, r"channels must be at least 1, got -18"),
    ],
)
def test_bad_options(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        IGCBlock(**{"channels": 18, **options})


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"out_channels": 20}, r"groups must divide out_channels=20, got 3"),
        (ValueError, {"groups": 5}, r"groups must divide channels=18, got 5"),
        (ValueError, {"stride": 0}, r"stride must be at least 1, got 0"),
        (TypeError, {"stride": True}, r"stride must be an int, got True"),
        (TypeError, {"channels": 18.0}, r"channels must be an int, got 18\.0"),
    ],
)
def test_bad_options_of_the_convolution(error: type[Exception], options: dict[str, Any], message: str):
    with pytest.raises(error, match=message):
        InterleavedGroupConv(**{"channels": 18, "groups": 3, **options})


@pytest.mark.parametrize(
    ("error", "x", "message"),
    [
        (ValueError, torch.zeros(2, 4, 3, 3), r"x must have shape \(B, 6, H, W\), got \(2, 4, 3, 3\)"),
        (ValueError, torch.zeros(6, 3, 3), r"x must have shape \(B, 6, H, W\), got \(6, 3, 3\)"),
        (ValueError, torch.zeros(2, 6, 0, 0), r"x must have at least one pixel, got shape \(2, 6, 0, 0\)"),
        (
            TypeError,
            torch.zeros(2, 6, 3, 3).double(),
            r"x is torch\.float64 but the layer's weights are torch\.float32",
        ),
        (TypeError, torch.zeros(2, 6, 3, 3).byte(), r"x must be floating, got torch\.uint8"),
        (TypeError, (torch.zeros(2, 6, 3, 3),), r"x must be a tensor \(B, 6, H, W\), got tuple"),
    ],
)
@pytest.mark.parametrize("make", [IGCBlock, InterleavedGroupConv], ids=["block", "convolution"])
def test_bad_input(make: Any, error: type[Exception], x: Any, message: str):
    with pytest.raises(error, match=message):
        make(6, groups=3)(x)
