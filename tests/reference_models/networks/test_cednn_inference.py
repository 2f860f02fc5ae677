"""CEDNN in evaluation without gradients: what its modules compute, always with the weights of the moment."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules import module

from attnzoo import ops
from reference_models import CEDNN
from reference_models.networks import cednn_blocks
from reference_models.networks.cednn import VARIANTS
from tests.layers.cases import default_dtype
from tests.ops.halved import HalvedWeight
from tests.reference_models.randomise import randomise

BACKENDS = ["torch", *(["native"] if ops.backends()["native"].available else [])]


def inputs(size=64):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, size, size, generator=generator)
    return x, (torch.rand(2, 5, size, size, generator=generator) > 0.6).float()


def exactly(network, x, *maps):
    """Return what the modules compute one by one, in float64."""
    return copy.deepcopy(network).double()(x.double(), *(m.double() for m in maps)).detach()


@pytest.fixture
def fused(monkeypatch):
    """Record for each call whether the blocks were fused."""
    seen = []
    original = cednn_blocks.fused

    def recorded(links, x, maps):
        found = original(links, x, maps)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(cednn_blocks, "fused", recorded)
    return seen


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("default", [lambda: default_dtype(torch.float16), lambda: torch.device("meta")])
def test_torchs_defaults_change_nothing(default, backend):
    network, (x, _) = CEDNN(attention_blocks=0, image_size=64, top_width=64).eval(), inputs()
    with torch.no_grad(), ops.backend(backend):
        expected = network(x)
        with default():
            assert torch.equal(network(x), expected)


@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("kinds", [(nn.Linear,), (nn.Linear, nn.Conv2d), (nn.Linear, nn.Conv2d, nn.BatchNorm2d)])
def test_quantised_weights_are_left_to_their_modules(kinds, backend):
    plain, given = randomise(CEDNN(attention_blocks=2, image_size=64, top_width=64)).half().float().eval(), inputs()
    network = copy.deepcopy(plain)
    for each in network.modules():
        for name, parameter in each.named_parameters(recurse=False) if isinstance(each, kinds) else ():
            each.register_parameter(name, nn.Parameter(HalvedWeight(parameter.detach().half()), requires_grad=False))
    for grad in (False, True):
        with torch.set_grad_enabled(grad), ops.backend(backend):
            torch.testing.assert_close(network(*given), plain(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variants_compute_what_their_modules_compute(variant, fused):
    x, maps = inputs()
    for se, blocks, form in ((None, 0, "add"), (None, 3, "add"), ("first", 2, "multiply"), ("first", 0, "add")):
        network = CEDNN(variant, se=se, attention_blocks=blocks, map_form=form, image_size=64, top_width=64)
        given = (x, maps) if blocks else (x,)
        expected = exactly(randomise(network).eval(), *given)
        assert expected.std() > 1e-3
        for backend in BACKENDS:
            with torch.no_grad(), ops.backend(backend):
                got = network(*given)
            assert fused.pop()
            assert float((got - expected).abs().max()) < 2e-6 * float(expected.abs().max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("blocks", "width"), [(4, 36), (0, 36), (6, 18), (1, 18)])
def test_maps_in_any_number_of_blocks_and_wider_networks(blocks, width, backend):
    network = randomise(CEDNN(attention_blocks=blocks, width=width, image_size=64, top_width=64)).eval()
    given = inputs() if blocks else inputs()[:1]
    with torch.no_grad(), ops.backend(backend):
        got = network(*given)
    torch.testing.assert_close(got.double(), exactly(network, *given), rtol=1e-5, atol=1e-6)


def edit_behind_autograds_back(network):
    network.blocks[2].fuse.weight.data.mul_(1.1)


def load(network):
    network.load_state_dict(randomise(copy.deepcopy(network), seed=9).state_dict())


def optimise(network):
    with torch.enable_grad():
        network.train()(*inputs()).sum().backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    network.eval()


def replace(network):
    network.blocks[1].branch.conv2.weight = nn.Parameter(network.blocks[1].branch.conv2.weight * 0.9)


def move(network):
    network.to(torch.float64).to(torch.float32)
    network.to(memory_format=torch.channels_last)
    network.blocks[0].branch.norm1.running_mean.add_(0.1)


@pytest.mark.parametrize("change", [edit_behind_autograds_back, load, optimise, replace, move])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_may_change_between_calls(change, mode):
    given = inputs()
    network = randomise(CEDNN(image_size=64, top_width=64)).eval()
    with mode():
        before = network(*given)
    change(network)
    with mode():
        after = network(*given)
    assert not torch.allclose(before, after, rtol=1e-4)
    torch.testing.assert_close(after.double(), exactly(network, *given), rtol=1e-5, atol=1e-6)


def test_whoever_looks_sees_the_modules(fused):
    network, given = randomise(CEDNN(se="first", image_size=32, top_width=32)).eval(), inputs(32)
    expected = network(*given)
    assert fused.pop() is False, "a gradient was wanted"
    with torch.no_grad():
        for name in ("blocks.1", "blocks.2.branch", "blocks.3.branch.conv1", "block_layers.4", "gates.0", "stack"):
            seen = []
            handle = network.get_submodule(name).register_forward_hook(lambda *_, seen=seen: seen.append(1))
            torch.testing.assert_close(network(*given), expected)
            assert fused.pop() is False, name
            assert seen == [1], name
            handle.remove()
        torch.testing.assert_close(network(*given), expected, rtol=1e-4, atol=1e-6)
        assert fused.pop() is True
        network.blocks[0].norm.train()
        network(*given)
        assert fused.pop() is False, "a norm in training uses the batch's own statistics"


@pytest.mark.parametrize("register", [module.register_module_forward_hook, module.register_module_forward_pre_hook])
def test_global_hooks_see_every_module(fused, register):
    network, given, seen = randomise(CEDNN(se="first", image_size=32, top_width=32)).eval(), inputs(32), []
    with torch.no_grad():
        expected = network(*given)
        assert fused.pop() is True
        handle = register(lambda called, *_: seen.append(called))
        try:
            torch.testing.assert_close(network(*given), expected, rtol=1e-4, atol=1e-6)
        finally:
            handle.remove()
        assert fused.pop() is False
    lists = {network.gates, network.blocks, network.block_layers}  # which are never called
    assert set(network.modules()) - lists == set(seen)


def test_a_backward_hook_on_each_module_fires():
    network, given, seen = CEDNN(image_size=32, top_width=32), inputs(32), []
    for name in ("block_layers.0", "blocks.1.branch.conv2", "reduce", "top1", "top2"):
        hook = lambda *_, name=name: seen.append(name)  # noqa: E731
        network.get_submodule(name).register_full_backward_hook(hook)
    network(*given).sum().backward()
    assert seen == ["top2", "top1", "reduce", "blocks.1.branch.conv2", "block_layers.0"]


def test_the_branch_layer_is_called():
    network = randomise(CEDNN(se="second", image_size=32, top_width=32)).eval()
    with torch.no_grad():
        got = network(*inputs(32))
    torch.testing.assert_close(got.double(), exactly(network, *inputs(32)), rtol=1e-5, atol=1e-6)


def test_empty_batch_and_channels_last():
    network = randomise(CEDNN(attention_blocks=0, image_size=64, top_width=32)).eval()
    x = inputs()[0]
    with torch.no_grad():
        assert network(x[:0]).shape == (0, 12)
        torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last)), network(x))


def test_compiles_and_exports():
    network, given = randomise(CEDNN(image_size=32, top_width=32)).eval(), inputs(32)
    with torch.no_grad():
        expected = network(*given)
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*given), expected, rtol=1e-4, atol=1e-6)
        exported = torch.export.export(network, given).module()
        torch.testing.assert_close(exported(*given), expected, rtol=1e-4, atol=1e-6)
