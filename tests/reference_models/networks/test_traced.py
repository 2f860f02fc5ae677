"""The reference networks under torch.fx, torch.jit.trace and torch.jit.script."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

import reference_models

FACES = torch.rand(2, 3, 64, 64)
SMALL = torch.rand(2, 3, 32, 32)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], str]] = {
    "cednn": (
        lambda: reference_models.create("cednn", image_size=32),
        (SMALL, (torch.rand(2, 5, 32, 32) > 0.5).float()),
        "blocks.2",
    ),
    "cednn, se first": (
        lambda: reference_models.create("cednn", variant="dense-L2M9", image_size=32, se="first"),
        (SMALL, torch.ones(2, 5, 32, 32)),
        "block_layers.0",
    ),
    "cednn, no maps": (
        lambda: reference_models.create("cednn", image_size=32, attention_blocks=0),
        (SMALL,),
        "blocks.5",
    ),
    "lla_net": (lambda: reference_models.create("lla_net", width=16), (FACES,), "layer2.0.llam"),
    "lla_net, block": (
        lambda: reference_models.create("lla_net", width=16, placement="block"),
        (FACES,),
        "layer4.1.llam",
    ),
    "tra_net": (
        lambda: reference_models.create("tra_net", width=16, image_size=64),
        (FACES, torch.tensor([30.0, 34.0])),
        "decoder.1.se",
    ),
    "tra_net, middle": (lambda: reference_models.create("tra_net", width=16, image_size=64), (FACES,), "mask"),
    "dba_net": (
        lambda: reference_models.create("dba_net", backbone="timm/resnet10t"),
        (FACES,),
        "attention",
    ),
    "dba_net, vgg": (
        lambda: reference_models.create("dba_net", backbone="vgg16_bn", width=8),
        (FACES,),
        "attention",
    ),
}
TRACE_WARNINGS = pytest.mark.filterwarnings(
    "ignore:`torch.jit.trace(_method)?` is deprecated", "ignore::torch.jit.TracerWarning"
)


def network_and_inputs(name: str) -> tuple[nn.Module, tuple[Tensor, ...], str]:
    make, args, node = NETWORKS[name]
    torch.manual_seed(0)
    return make().eval(), args, node


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_symbolic_trace_and_its_features(name: str) -> None:
    network, args, node = network_and_inputs(name)
    assert_close(fx.symbolic_trace(network)(*args), network(*args))
    seen: list[object] = []
    network.get_submodule(node).register_forward_hook(lambda *call: seen.append(call[-1]))
    network(*args)
    found = create_feature_extractor(network, {node: "wanted"}).eval()(*args)["wanted"]
    assert_close(found, seen[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_symbolic_trace_is_trained(name: str) -> None:
    network, args, _ = network_and_inputs(name)
    graph = fx.symbolic_trace(network.train())
    graph(*args).square().sum().backward()
    assert all(p.grad is not None for p in graph.parameters() if p.requires_grad)


@TRACE_WARNINGS
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_jit_trace_computes_the_same_on_another_batch(name: str, grad: bool) -> None:
    network, args, _ = network_and_inputs(name)
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(network, args)
        assert_close(traced(*args), network(*args))
        more = tuple(torch.cat([each, each.flip(0), each]) for each in args)
        if name != "tra_net":  # how many centre rows there are is part of the trace
            assert_close(traced(*more), network(*more))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", NETWORKS)
def test_jit_script_is_refused_in_one_sentence(name: str) -> None:
    network, _, _ = network_and_inputs(name)
    with pytest.raises(TypeError, match=r"cannot be compiled by torch\.jit\.script: use torch\.jit\.trace"):
        torch.jit.script(network)
