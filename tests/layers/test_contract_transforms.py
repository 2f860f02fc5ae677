"""The contract of every registered layer under torch's transforms: compile, export, autocast, meta, copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils.hooks import RemovableHandle

from attnzoo import LayerInfo, create, layer_info, list_layers
from tests.layers import cases
from tests.layers.cases import contract


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@contract("compile")
def test_compiles_as_one_graph_forward_and_backward(info: LayerInfo, training: bool):
    torch.compiler.reset()
    eager = cases.make(info, 12).train(training)
    layer = copy.deepcopy(eager)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    arguments = cases.inputs(info, layer)
    results = []
    for function, module in ((eager, eager), (compiled, layer)):
        own = cases.mapped(arguments, lambda x: x.clone().requires_grad_())
        output = function(*own)
        torch.manual_seed(3)
        cases.with_random_gradient(output)
        tensors = [*module.parameters(), *cases.leaves(own)]
        results.append((list(cases.leaves(output)), [t.grad for t in tensors], module.state_dict()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


@contract("export")
def test_exports_with_a_dynamic_batch(info: LayerInfo):
    layer = cases.make(info, 12)
    arguments = cases.inputs(info, layer, 3)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(layer, arguments, dynamic_shapes=cases.mapped(arguments, lambda _: {0: batch}))
    other = cases.inputs(info, layer, 5)
    torch.testing.assert_close(exported.module()(*other), layer(*other), rtol=1e-5, atol=1e-5)


@contract("autocast")
def test_bf16_autocast_is_close_to_float32(info: LayerInfo):
    layer = cases.make(info)
    arguments = cases.mapped(cases.inputs(info, layer), lambda x: x.requires_grad_())
    expected = [x.detach() for x in cases.leaves(layer(*arguments))]
    with torch.autocast("cpu", torch.bfloat16):
        got = layer(*arguments)
    cases.with_random_gradient(got)
    for a, b in zip(cases.leaves(cases.mapped(got, Tensor.detach)), expected, strict=True):
        assert a.dtype in {torch.float32, torch.bfloat16}
        assert float((a.float() - b).norm() / b.norm()) < 2**-6
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in layer.parameters())


@contract("autocast_bf16_input")
def test_bf16_input_under_autocast(info: LayerInfo):
    """Inside an autocast region a layer meets the bf16 output of a convolution before it."""
    layer = cases.make(info)
    arguments = cases.mapped(cases.inputs(info, layer), Tensor.bfloat16)
    with torch.no_grad():
        expected = list(cases.leaves(layer(*cases.mapped(arguments, Tensor.float))))
        with torch.autocast("cpu", torch.bfloat16):
            got = list(cases.leaves(layer(*arguments)))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert float((a.float() - b).norm() / b.norm()) < 2**-6


@contract("meta")
def test_meta_device(info: LayerInfo):
    channels = [48, 96] if info.kind == "pyramid" else 48
    layer = create(info.name, channels, **info.example, device="meta")
    real = create(info.name, channels, **info.example)
    assert all(p.is_meta for p in [*layer.parameters(), *layer.buffers()])
    arguments = cases.inputs(info, layer, device="meta")
    got = list(cases.leaves(layer(*arguments)))
    expected = list(cases.leaves(real(*cases.inputs(info, real))))
    assert all(x.is_meta for x in got)
    assert [x.shape for x in got] == [x.shape for x in expected]


@contract("dtype_argument")
def test_dtype_argument_reaches_every_parameter(info: LayerInfo):
    layer = cases.make(info, 12, dtype=torch.bfloat16)
    tensors = [*layer.parameters(), *layer.buffers()]
    assert all(t.dtype == torch.bfloat16 for t in tensors if t.is_floating_point())


@contract("copies")
def test_deepcopy_and_pickle(info: LayerInfo):
    layer = cases.make(info)
    arguments = cases.inputs(info, layer)
    expected = layer(*arguments)
    thawed = pickle.loads(pickle.dumps(layer))  # noqa: S301 - made on the line itself
    for other in (copy.deepcopy(layer), thawed):
        assert type(other) is type(layer)
        assert repr(other) == repr(layer)
        assert not {id(p) for p in other.parameters()} & {id(p) for p in layer.parameters()}
        torch.testing.assert_close(other(*arguments), expected, rtol=0, atol=0)


@contract("state_dict")
def test_state_dict_loads_strictly_and_carries_everything(info: LayerInfo):
    layer, other = cases.make(info), cases.make(info)
    arguments = cases.inputs(info, layer)
    expected = layer(*arguments)
    if layer.state_dict():
        assert any(
            not torch.equal(a, b) for a, b in zip(cases.leaves(other(*arguments)), cases.leaves(expected), strict=True)
        )
    other.load_state_dict(layer.state_dict(), strict=True)
    torch.testing.assert_close(other(*arguments), expected, rtol=0, atol=0)


@contract("train_eval")
def test_eval_is_deterministic_and_changes_no_state(info: LayerInfo):
    layer = cases.make(info)
    arguments = cases.inputs(info, layer)
    before = copy.deepcopy(layer.state_dict())
    torch.testing.assert_close(layer(*arguments), layer(*arguments), rtol=0, atol=0)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", ["cbam", "se"])
def test_inner_convolutions_may_be_watched_and_replaced(name: str, grad: bool):
    """A hook on each convolution fires, and what an adapter in its place adds is not lost."""
    layer = create(name, 48).eval()
    x = torch.randn(4, 48, 7, 5)
    with torch.set_grad_enabled(grad):
        plain = layer(x)
        convolutions = {key: each for key, each in layer.named_modules() if isinstance(each, nn.Conv2d)}
        seen = []
        handles = [
            each.register_forward_hook(lambda module, args, out, key=key: seen.append(key))
            for key, each in convolutions.items()
        ]
        torch.testing.assert_close(layer(x), plain)
        assert set(seen) == set(convolutions)
        for handle in handles:
            handle.remove()
        for key, each in convolutions.items():
            parent, _, child = key.rpartition(".")
            setattr(layer.get_submodule(parent), child, Doubled(each))
            assert not torch.allclose(layer(x), plain), key
            setattr(layer.get_submodule(parent), child, each)


@pytest.mark.parametrize("register", [hooks.register_module_forward_hook, hooks.register_module_forward_pre_hook])
@contract("global_forward_hooks")
def test_global_forward_hooks_see_every_inner_module(info: LayerInfo, register: Callable[..., RemovableHandle]):
    """In evaluation without gradients, where fused operations take the place of most modules."""
    layer, seen = cases.make(info), []
    arguments = cases.inputs(info, layer)
    with torch.no_grad():
        expected = layer(*arguments)
        handle = register(lambda called, *_: seen.append(called))
        try:
            torch.testing.assert_close(layer(*arguments), expected, rtol=1e-4, atol=1e-5)
        finally:
            handle.remove()
    assert {each for each in layer.modules() if not isinstance(each, nn.ModuleList)} == set(seen)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", [name for name in list_layers() if layer_info(name).kind in {"unary", "paired"}])
def test_global_backward_hooks_see_every_inner_module(name: str, training: bool):
    """Of the layers that return one tensor: torch warns of all others."""
    info = layer_info(name)
    layer, seen = cases.make(info).train(training), []
    arguments = cases.mapped(cases.inputs(info, layer), lambda x: x.requires_grad_())
    handle = hooks.register_module_full_backward_hook(lambda called, *_: seen.append(called))
    try:
        cases.with_random_gradient(layer(*arguments))
    finally:
        handle.remove()
    assert set(layer.modules()) == set(seen)


class Doubled(nn.Module):
    """An adapter: the module and as much again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.module(x)
