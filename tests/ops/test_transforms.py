"""The operations under torch's transforms: whatever cannot go through a kernel goes through torch, never astray."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from attnzoo import CBAM, SqueezeExcite, ops
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import OPERATIONS, native_only

pytestmark = native_only

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "se": lambda: randomise(SqueezeExcite(12)),
    "cbam": lambda: randomise(CBAM(12)).eval(),
    "cbam_residual": lambda: randomise(CBAM(12, residual=True, norm_layer=None)),
}


def close(got: object, expected: object) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def small_inputs(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return cases.inputs((2, 6, 3, 5), dtype)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradcheck_and_double_backward_in_float64(name: str):
    x, *rest = [t.requires_grad_() for t in small_inputs(torch.float64)]
    x = (x.detach() + torch.rand_like(x) * 0.01).requires_grad_()  # no ties: there the maximum has no derivative
    assert torch.autograd.gradcheck(OPERATIONS[name], (x, *rest))


@pytest.mark.parametrize("name", OPERATIONS)
def test_second_derivatives(name: str):
    """Forward natively, backward through torch as soon as the gradient itself is to be differentiated."""
    tensors, results = small_inputs(), []
    for backend, dtype in (("native", torch.float32), ("torch", torch.float64)):
        leaves = [t.detach().to(dtype).requires_grad_() for t in tensors]
        with ops.backend(backend):
            outputs = OPERATIONS[name](*leaves)
        torch.manual_seed(5)
        seeds = [torch.randn(o.shape).to(dtype).requires_grad_() for o in outputs]
        first = torch.autograd.grad(outputs, leaves, seeds, create_graph=True, allow_unused=True)
        first = [g for g in first if g is not None]
        loss = sum((g * g).sum() for g in first)
        second = torch.autograd.grad(loss, [*leaves, *seeds], allow_unused=True)
        results.append([None if g is None or not g.any() else g.double() for g in (*first, *second)])
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert float((a - b).detach().norm()) <= 1e-5 * float(b.detach().norm())


def directional(layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    """Return the derivative of the layer along v, by two evaluations in float64."""
    layer, step = layer.double(), 1e-6
    ahead, behind = (layer(x.double() + s * step * v.double()) for s in (1, -1))
    layer.float()
    return ((ahead - behind) / (2 * step)).detach()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own forward formulas
@pytest.mark.parametrize("name", LAYERS)
def test_forward_mode_keeps_the_tangent(name: str):
    layer, x, v = LAYERS[name](), torch.randn(2, 12, 4, 5), torch.randn(2, 12, 4, 5)
    expected = directional(layer, x, v).float()
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, v))).tangent
    close(tangent.detach(), expected)
    close(torch.func.jvp(layer, (x,), (v,))[1].detach(), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_functional_gradients_and_vmap(name: str):
    layer, x = LAYERS[name](), torch.randn(3, 12, 4, 5)
    seed = torch.randn(1, 12, 4, 5)

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return (functional_call(layer, parameters, (sample[None],)) * seed).sum()

    parameters = {k: p.detach() for k, p in layer.named_parameters()}
    per_sample = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, x)
    for i in range(3):
        leaf = x[i : i + 1].clone().requires_grad_()
        layer.zero_grad()
        with ops.backend("native"):
            (layer(leaf) * seed).sum().backward()
        close(per_sample[1][i], leaf.grad[0])
        for key, parameter in layer.named_parameters():
            close(per_sample[0][key][i], parameter.grad)


@pytest.mark.parametrize("name", LAYERS)
def test_batched_gradients_of_a_native_forward(name: str):
    """``is_grads_batched`` runs the backward of a native forward under vmap."""
    layer, x = LAYERS[name](), torch.randn(2, 12, 3, 3).requires_grad_()
    y = layer(x)
    seeds = torch.randn(4, *y.shape)
    (batched,) = torch.autograd.grad(y, x, seeds, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(y, x, seed, retain_graph=True)[0] for seed in seeds]
    close(batched, torch.stack(single))


@pytest.mark.parametrize("name", LAYERS)
def test_native_and_torch_agree_under_autocast(name: str):
    layer, x = LAYERS[name](), torch.randn(2, 12, 6, 5)
    for dtype in (torch.float32, torch.bfloat16):
        results = []
        for backend in ("native", "torch"):
            layer.zero_grad()
            leaf = x.detach().clone().to(dtype).requires_grad_()
            with ops.backend(backend), torch.autocast("cpu", torch.bfloat16):
                y = layer(leaf)
            y.float().square().sum().backward()
            results.append([y.detach().float(), leaf.grad.float(), *(p.grad.float() for p in layer.parameters())])
            assert y.dtype == dtype
        for a, b in zip(*results, strict=True):
            assert float((a - b).norm()) <= 2**-5 * float(b.norm())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("choice", ["auto", "native"])
def test_compiled_graphs_hold_the_operators_that_are_asked_for(name: str, choice: str):
    """By itself the compiler gets plain torch, which it fuses with what stands around the layer."""
    if not cases.export_is_told():
        pytest.skip("compiled graphs are plain torch where torch calls them exported, as up to 2.8")
    layer, x = LAYERS[name](), torch.randn(2, 12, 4, 5)
    graphs: dict[str, list[str]] = {}

    def keep(part: str) -> Callable[[torch.fx.GraphModule, list[Tensor]], torch.fx.GraphModule]:
        def compiler(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
            graphs[part] = [str(node.target) for node in graph.graph.nodes]
            return make_boxed_func(graph.forward)

        return compiler

    torch.compiler.reset()
    backend = aot_autograd(fw_compiler=keep("forward"), bw_compiler=keep("backward"))
    with ops.backend(choice):
        torch.compile(layer, backend=backend, fullgraph=True)(x.requires_grad_()).sum().backward()
    asked = choice == "native"
    assert any("attnzoo.apply_gates" in target for target in graphs["forward"]) == asked
    for operator in ("apply_gates_backward", "global_pool_backward"):
        assert any(f"attnzoo.{operator}" in target for target in graphs["backward"]) == asked


def test_second_derivatives_raise_where_a_graph_is_fixed():
    torch.compiler.reset()
    x = torch.randn(2, 12, 4, 5, requires_grad=True)
    with ops.backend("native"):
        y = torch.compile(SqueezeExcite(12), backend="aot_eager", fullgraph=True)(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.sum().backward()
    values, ties = torch.ops.attnzoo.global_pool(x.detach(), True, True)
    dx = torch.ops.attnzoo.global_pool_backward(values.requires_grad_(), None, x, values, ties)
    with pytest.raises(RuntimeError, match=r"global_pool_backward is not differentiable.*outside of torch\.compile"):
        dx.sum().backward()


def test_compiled_code_follows_the_context():
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounter()
    layer, x = SqueezeExcite(12), torch.randn(2, 12, 4, 5)
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    with ops.backend("torch"):
        close(compiled(x), layer(x))
    assert counter.frame_count == 1
    with ops.backend("native"):
        close(compiled(x), layer(x))
    assert counter.frame_count == 2, "the graph that was made for another backend ran again"


@pytest.mark.parametrize("name", LAYERS)
def test_exported_and_traced_graphs_are_plain_torch(name: str):
    layer, x = LAYERS[name]().eval(), torch.randn(2, 12, 4, 5)
    exported = torch.export.export(layer, (x,))
    assert not any("attnzoo" in str(node.target) for node in exported.graph.nodes)
    close(exported.module()(x), layer(x))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck clones its inputs
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_operators_pass_opcheck(last: bool):
    x, channel, spatial, blend = [t.requires_grad_() for t in cases.inputs((2, 5, 4, 3), torch.float32, last)]
    planes, weight, bias = torch.randn(2, 2, 5, 4), torch.randn(1, 2, 3, 3), torch.randn(1)
    operators = torch.ops.attnzoo
    torch.library.opcheck(operators.global_pool, (x, True, True))
    torch.library.opcheck(operators.squeeze_channels, (x, channel, True))
    other = torch.randn_like(x).requires_grad_()
    for shortcut, relu in ((None, False), (None, True), (other, False), (other, True)):
        torch.library.opcheck(operators.apply_gates, (x, channel, spatial, blend, shortcut, False, relu))
    for b, a, shortcut, relu in ((None, None, None, False), (x.detach().flip(0), blend, x.detach().flip(1), True)):
        torch.library.opcheck(operators.llam_gate, (x, x.detach() - 1, b, a, shortcut, relu, True))
    torch.library.opcheck(operators.split_rows, (x, torch.rand(3, 1, 4) < 0.5))
    torch.library.opcheck(operators.spatial_conv, tuple(t.requires_grad_() for t in (planes, weight, bias)))


@pytest.mark.parametrize("channels", [64, 256])
def test_saved_for_backward_is_the_map_and_small_tensors(channels: int):
    layer, x = CBAM(channels), torch.randn(2, channels, 28, 28, requires_grad=True)
    parameters = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with ops.backend("native"), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    saved = sum(size for pointer, size in storages.items() if pointer not in parameters)
    assert x.untyped_storage().nbytes() <= saved <= 1.2 * x.untyped_storage().nbytes()


def test_llam_saves_its_logits_and_no_gate():
    x, a, b, shortcut = (torch.randn(2, 8, 9, 9, requires_grad=True) for _ in range(4))
    saved: list[Tensor] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t)
    with ops.backend("native"), hooks:
        y = ops.llam_gate(x, a, b, shortcut=shortcut, relu=True)
    assert len(saved) == 3
    assert {t.data_ptr() for t in (x, y)} <= {t.data_ptr() for t in saved}
    assert any(torch.equal(t, a + b) for t in saved)


@pytest.mark.parametrize("name", LAYERS)
def test_torch_counts_the_same_operations(name: str):
    """Under a counter, which looks at operators, the reference path computes."""
    counts = []
    for backend in ("auto", "torch"):
        layer, x = LAYERS[name](), torch.randn(2, 12, 4, 5, requires_grad=True)
        with ops.backend(backend), FlopCounterMode(display=False) as counter:
            layer(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
