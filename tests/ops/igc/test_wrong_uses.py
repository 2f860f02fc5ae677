"""What people do to CEDNN, to its block and around them: the modules count, or an error says what is wrong."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

import reference_models
from attnzoo import IGCBlock, ops
from tests.layers.cases import randomise
from tests.ops.unusual import every_hook

INSIDE = ("branch", "branch.conv1", "branch.norm1", "branch.conv2", "branch.norm2", "branch_layer", "fuse", "norm")
HOLDERS = tuple(name for name in INSIDE if name not in {"branch", "branch_layer"})
WITHIN = ("stack", "gates.1", "blocks.0", "blocks.2.fuse", "block_layers.3", "reduce", "top1", "fc")
MODES = [(gradients, training) for gradients in (False, True) for training in (False, True)]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def block(training: bool = False) -> IGCBlock:
    return randomise(IGCBlock(18, groups=6, out_channels=36)).train(training)


def network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return reference_models.create("cednn", image_size=32, top_width=32, **options).eval()


def faces(batch: int = 2, size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    x = torch.rand(batch, 3, size, size, generator=generator)
    return x, (torch.rand(batch, 5, size, size, generator=generator) > 0.5).float()


@pytest.mark.parametrize(("gradients", "training"), MODES)
@pytest.mark.parametrize("name", INSIDE)
def test_a_forward_on_an_instance_is_called(name: str, gradients: bool, training: bool):
    layer, x = block(training), torch.randn(2, 18, 30, 30)
    expected = copy.deepcopy(layer)(x)
    module, called = layer.get_submodule(name), []
    own = module.forward
    module.forward = lambda x: (called.append(1), own(x))[1]
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
        layer.pooled(x)
    assert called == [1, 1]


@pytest.mark.parametrize("name", WITHIN)
def test_so_it_is_in_the_network(name: str):
    layer, given = network(), faces()
    expected = layer(*given)
    module, called = layer.get_submodule(name), []
    own = module.forward
    module.forward = lambda *inputs: (called.append(1), own(*inputs))[1]
    with torch.no_grad():
        torch.testing.assert_close(layer(*given), expected.detach(), rtol=1e-4, atol=1e-6)
    assert called == [1]


@pytest.mark.parametrize("training", [False, True])
def test_hooks_of_every_kind_are_seen(training: bool):
    layer, x = block(training), torch.randn(2, 18, 30, 30)
    inside = [layer.get_submodule(name) for name in INSIDE]
    with torch.set_grad_enabled(training), ops.eligibility.noting() as decisions:
        for register in every_hook(inside):
            handle = register()
            decisions.clear()
            layer(x)
            assert [decision.backend for decision in decisions] == ["torch"]
            handle.remove()


@pytest.mark.parametrize("training", [False, True])
def test_a_hook_on_the_block_itself_changes_nothing(training: bool):
    layer, x, seen = block(training), torch.randn(2, 18, 30, 30), []
    layer.register_forward_hook(lambda *_: seen.append(1))
    with torch.set_grad_enabled(training), ops.eligibility.noting() as decisions:
        layer(x)
    assert seen == [1]
    if ops.backends()["native"].available:
        assert "native" in {decision.backend for decision in decisions}


@pytest.mark.parametrize(("gradients", "training"), MODES)
@pytest.mark.parametrize("name", ["", *HOLDERS])
def test_weights_on_another_device_are_an_error(name: str, gradients: bool, training: bool):
    layer, x = block(training), torch.randn(2, 18, 30, 30)
    layer.get_submodule(name).to("meta")
    with torch.set_grad_enabled(gradients), pytest.raises(RuntimeError, match=r"device"):
        layer(x)


@pytest.mark.parametrize("name", ["blocks.3.fuse", "blocks.0.branch.norm1", "blocks"])
def test_so_they_are_in_the_network(name: str):
    for options in ({}, {"se": "first"}):
        layer = network(**options)
        layer.get_submodule(name).to("meta")
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients), pytest.raises(RuntimeError, match=r"device"):
                layer(*faces())


def test_operations_refuse_tensors_on_other_devices():
    stages, x = block().requires_grad_(False), torch.randn(2, 18, 12, 12)
    with torch.no_grad():
        found = list(stages.stages())
    found[1] = found[1]._replace(weight=found[1].weight.to("meta"))
    for call in (
        lambda: ops.igc.igc_block(x, found, groups=6),
        lambda: ops.igc.igc_chain(x, [ops.igc.IGCLink(found, 6)]),
        lambda: ops.igc.igc_training(x, found, groups=6),
    ):
        with pytest.raises(RuntimeError, match=r"x is on cpu and .* on meta: they must be on one device"):
            call()


def test_under_torch_func():
    layer, (x, maps) = network(), faces(3)
    parameters = dict(layer.named_parameters())
    expected = layer(x, maps).detach()
    with torch.no_grad():
        each = torch.func.vmap(lambda *one: layer(*(t[None] for t in one))[0])(x, maps)
        torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-6)
        other = torch.func.functional_call(layer, {name: p * 1 for name, p in parameters.items()}, (x, maps))
        torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-6)
    found = torch.func.grad(lambda x: layer(x, maps).sum())(x)
    wanted = x.clone().requires_grad_()
    layer(wanted, maps).sum().backward()
    torch.testing.assert_close(found, wanted.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_under_forward_mode_ad():
    layer, x = block().requires_grad_(False), torch.randn(2, 18, 12, 12)
    tangent = torch.randn_like(x)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients), forward_ad.dual_level():
            moved = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
        assert moved is not None
        step = 1e-6
        exact = copy.deepcopy(layer).double()
        difference = (exact(x.double() + step * tangent) - exact(x.double() - step * tangent)) / (2 * step)
        assert float((moved - difference).norm() / difference.norm()) < 1e-2


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("gradients", [False, True])
def test_compiled_exported_and_traced(gradients: bool):
    layer, given = network(), faces()
    with torch.set_grad_enabled(gradients):
        expected = layer(*given)
        for graph in (
            torch.compile(layer, fullgraph=True, backend="aot_eager"),
            torch.export.export(layer, given).module(),
            torch.jit.trace(layer, given),
        ):
            torch.testing.assert_close(graph(*given), expected, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(graph(*given), layer(*given), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("threads")
def test_threads_may_change_between_forward_and_backward():
    found, drawn, image = [], block(training=True), torch.randn(2, 18, 30, 30)
    for before, after in ((1, 1), (1, 2), (2, 1)):
        layer, x = copy.deepcopy(drawn), image.clone().requires_grad_()
        torch.set_num_threads(before)
        y = layer(x)
        torch.set_num_threads(after)
        y.square().sum().backward()
        found.append([x.grad, *(p.grad for p in layer.parameters())])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_eight_threads_at_once():
    layer, wrong, barrier = network(), [], threading.Barrier(8)
    given = [faces(1 + i % 3) for i in range(8)]
    with torch.no_grad():
        expected = [layer(*each) for each in given]

    def work(i: int) -> None:
        barrier.wait()
        with torch.no_grad():
            wrong.extend(i for _ in range(10) if not torch.equal(layer(*given[i]), expected[i]))

    started = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert not wrong
