"""The layers under torch.fx (as leaves of a model, and by themselves), torch.jit.trace and torch.jit.script."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

import attnzoo

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[object, ...]]] = {
    "se": (lambda: attnzoo.SqueezeExcite(16), (torch.rand(2, 16, 8, 8),)),
    "cbam": (lambda: attnzoo.CBAM(16), (torch.rand(2, 16, 8, 8),)),
    "cbam, spatial": (lambda: attnzoo.CBAM(16, channel=False, residual=True), (torch.rand(2, 16, 8, 8),)),
    "llam": (lambda: attnzoo.LLAM(16), (torch.rand(2, 16, 8, 8), torch.rand(2, 16, 8, 8))),
    "difference_gate": (
        lambda: attnzoo.DifferenceGate(12, num_maps=3),
        (torch.rand(2, 12, 8, 8), torch.ones(2, 3, 8, 8)),
    ),
    "igc": (lambda: attnzoo.IGCBlock(18, groups=6), (torch.rand(2, 18, 8, 8),)),
    "igc convolution": (lambda: attnzoo.InterleavedGroupConv(18, groups=6), (torch.rand(2, 18, 8, 8),)),
    "region_mask": (
        lambda: attnzoo.RegionMask(16, frame_height=64),
        (torch.rand(2, 16, 8, 8), torch.tensor([20.0, 40.0])),
    ),
    "dba": (
        lambda: attnzoo.DenselyBackwardAttention([8, 16]),
        ([torch.rand(2, 8, 8, 8), torch.rand(2, 16, 4, 4)],),
    ),
}
TRACE_WARNINGS = pytest.mark.filterwarnings(
    "ignore:`torch.jit.trace(_method)?` is deprecated", "ignore::torch.jit.TracerWarning"
)


class Around(nn.Module):
    """A model that calls the layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: object) -> object:
        return self.layer(x)


class AroundTwo(Around):
    def forward(self, x: object, y: object) -> object:
        return self.layer(x, y)


def around(layer: nn.Module, args: tuple[object, ...]) -> nn.Module:
    return (AroundTwo if len(args) == 2 else Around)(layer)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_one_node_of_a_model(name: str, training: bool) -> None:
    make, args = LAYERS[name]
    model = around(make().train(training), args)
    graph = fx.symbolic_trace(model)
    assert [node.target for node in graph.graph.nodes if node.op.startswith("call_module")] == ["layer"]
    other = copy.deepcopy(model)
    torch.testing.assert_close(graph(*args), other(*args))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_by_itself_is_traced(name: str, training: bool) -> None:
    make, args = LAYERS[name]
    layer = make().train(training)
    graph = fx.symbolic_trace(layer)
    torch.testing.assert_close(graph(*args), copy.deepcopy(layer)(*args), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for parameter in layer.parameters():  # the graph has the parameters, and not what they were
            parameter.add_(0.1)
    torch.testing.assert_close(graph(*args), copy.deepcopy(layer)(*args), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_the_class_says_where_it_is_from(name: str) -> None:
    layer = LAYERS[name][0]()
    cls = type(layer)
    assert cls.__module__.startswith("attnzoo.layers.")
    assert inspect.getmodule(cls).__name__ == cls.__module__
    again = pickle.loads(pickle.dumps(layer))  # noqa: S301 - it was just written
    assert type(again) is cls
    assert repr(again) == repr(layer)
    assert fx.Tracer().is_leaf_module(again, "layer")
    assert fx.Tracer().is_leaf_module(copy.deepcopy(layer), "layer")


@TRACE_WARNINGS
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_jit_trace(name: str, grad: bool) -> None:
    make, args = LAYERS[name]
    layer = make().eval()
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(layer, args, strict=False)
        torch.testing.assert_close(traced(*args), layer(*args), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_jit_script_is_refused_in_one_sentence(name: str, inside: bool) -> None:
    make, args = LAYERS[name]
    with pytest.raises(TypeError, match=r"cannot be compiled by torch\.jit\.script: use torch\.jit\.trace"):
        torch.jit.script(around(make(), args) if inside else make())


def test_the_maps_of_dba_as_a_list() -> None:
    layer = attnzoo.DenselyBackwardAttention([8, 16], output="maps")
    maps: list[Tensor] = [torch.rand(2, 8, 8, 8), torch.rand(2, 16, 4, 4)]
    torch.testing.assert_close(fx.symbolic_trace(layer)(maps), layer(maps))
