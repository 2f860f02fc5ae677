"""Kernels stand for a layer's modules only where nobody can tell the difference, and ``explain`` says why not."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnzoo
from attnzoo import CBAM, LLAM, SqueezeExcite, ops
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.ops.unusual import CBAM_CHANGES, LOOKED, every_hook, put

pytestmark = native_only


def first(layer: nn.Module, x: Tensor) -> ops.Decision:
    """Return what was decided of the whole gate."""
    decision = ops.explain(layer, x)[0]
    assert decision.operation == "gate_images"
    return decision


def changed(change: Any) -> CBAM:
    layer = randomise(CBAM(12, rd_channels=3)).eval()
    change(layer)
    return layer


def by_torch(layer: nn.Module, *inputs: Tensor) -> Tensor:
    with ops.backend("torch"):
        return layer(*inputs)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("what", CBAM_CHANGES)
def test_what_was_done_to_a_module_counts(what: str, gradients: bool):
    x, layer = torch.randn(2, 12, 5, 6), changed(CBAM_CHANGES[what])
    assert first(changed(lambda _: None), x) == ("gate_images", "native", None)
    with torch.set_grad_enabled(gradients):
        decision = first(layer, x)
        assert decision.backend == "torch"
        assert decision.reason
        plain = nn.Sequential(layer)  # the modules called one by one by torch
        torch.testing.assert_close(layer(x), by_torch(plain, x))


def test_a_replaced_forward_is_called_in_every_layer():
    x = torch.randn(2, 32, 8, 8)
    for layer, name, inputs in (
        (SqueezeExcite(32), "fc1", (x,)),
        (SqueezeExcite(32), "gate", (x,)),
        (CBAM(32), "channel", (x,)),
        (CBAM(32), "spatial.norm", (x,)),
        (LLAM(32), "conv", (x, x)),
        (attnzoo.create("igc", 32, groups=4), "fuse", (x,)),
    ):
        for gradients in (False, True):
            randomise(layer).eval()
            with torch.set_grad_enabled(gradients):
                module, seen = layer.get_submodule(name), []
                original = module.forward
                module.forward = lambda *args, original=original, seen=seen: (seen.append(1), original(*args))[1]
                layer(*inputs)
                assert seen
                del module.forward


@pytest.mark.parametrize("who", LOOKED)
def test_who_looks_sees_torchs_operations_or_the_gates(who: str):
    layer, x = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6)
    expected = layer(x)
    with torch.no_grad(), LOOKED[who]():
        if who != "a recorder":
            assert first(layer, x).backend == "torch"
        torch.testing.assert_close(layer(x), expected.detach())


def test_transforms_and_traces_are_named():
    layer, x, said = randomise(SqueezeExcite(12)).eval().requires_grad_(False), torch.randn(2, 2, 12, 5, 6), []

    def asked(image: Tensor) -> Tensor:
        said.append(first(layer, image).reason)
        return image

    with torch.no_grad():
        torch.func.vmap(asked)(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every size that is looked at
            torch.jit.trace(asked, x[0], check_trace=False)
    assert "Tensor of" in said[0] or "torch.func" in said[0]
    assert said[1] == "torch.jit.trace is at work"


@pytest.mark.parametrize("name", ["cbam", "se"])
def test_hooks_of_every_kind_on_every_module_are_seen(name: str):
    layer, x = randomise(attnzoo.create(name, 12)).eval(), torch.randn(2, 12, 5, 6)
    inside = [module for module in layer.modules() if module is not layer]
    assert len(inside) == (4 if name == "se" else 7)
    with torch.no_grad():
        for register in every_hook(inside):
            handle = register()
            with ops.eligibility.noting() as decisions:
                layer(x)
            assert decisions[0].backend == "torch"
            assert "hook" in decisions[0].reason
            handle.remove()
        assert first(layer, x).backend == "native"


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        ("se", "fc1"), ("se", "fc2"), ("cbam", "channel"), ("cbam", "spatial.conv"), ("cbam", "spatial.norm"),
        ("cbam", ""), ("llam", "conv"),
    ],
    ids=str,
)  # fmt: skip
def test_weights_on_another_device_are_an_error_and_no_crash(where: tuple[str, str], gradients: bool):
    name, inside = where
    layer = attnzoo.create(name, 32).eval()
    layer.get_submodule(inside).to("meta")
    x = torch.randn(2, 32, 9, 9)
    with torch.set_grad_enabled(gradients), pytest.raises(RuntimeError, match=r"device|meta"):
        layer(*(x, x) if name == "llam" else (x,))


def test_a_statistic_on_another_device_is_an_error():
    layer = CBAM(16).eval()
    layer.spatial.norm.running_var = layer.spatial.norm.running_var.to("meta")
    with pytest.raises(RuntimeError, match=r"x is on cpu and a parameter or buffer of the layer on meta"):
        layer(torch.randn(2, 16, 9, 9))


def test_maps_with_the_negative_bit_are_what_they_are_worth():
    whole = torch.randn(2, 16, 7, 5, dtype=torch.complex64)
    x = whole.conj().imag
    assert x.is_neg()
    for name in ("se", "cbam", "llam"):
        layer = randomise(attnzoo.create(name, 16)).eval()
        inputs, resolved = ((x, x), (x.resolve_neg(),) * 2) if name == "llam" else ((x,), (x.resolve_neg(),))
        torch.testing.assert_close(layer(*inputs), layer(*resolved))
    for operation in (ops.global_pool, ops.squeeze_channels):
        torch.testing.assert_close(operation(x)[0], operation(x.resolve_neg())[0])
    gate = torch.rand(2, 16, 1, 1)
    torch.testing.assert_close(ops.apply_gates(x, [gate]), x.resolve_neg() * gate)


def test_a_gradient_with_the_negative_bit_is_what_it_is_worth():
    layer, x = randomise(CBAM(16)), torch.randn(2, 16, 7, 5, requires_grad=True)
    seed = torch.randn(2, 16, 7, 5, dtype=torch.complex64).conj().imag
    (found,) = torch.autograd.grad(layer(x), x, seed)
    (expected,) = torch.autograd.grad(layer(x), x, seed.resolve_neg())
    torch.testing.assert_close(found, expected)


def test_nothing_is_kept_from_call_to_call():
    layer, x = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6)
    with torch.no_grad():
        before = layer(x)
        layer.channel.fc1.weight.mul_(2)
        layer.spatial.norm.running_mean.add_(1)
        layer.spatial.conv = randomise(nn.Conv2d(2, 1, 3, padding=1, bias=False))
        layer.channel.fc2.weight = nn.Parameter(torch.randn_like(layer.channel.fc2.weight))
        assert first(layer, x).backend == "native"
        assert not torch.allclose(layer(x), before)
        torch.testing.assert_close(layer(x), by_torch(layer, x))


@pytest.mark.parametrize(
    "change",
    [
        put("channel.fc1", nn.Conv2d(8, 3, 1)), put("channel.fc2", nn.Conv2d(3, 8, 1)),
        put("channel.fc2", nn.Conv2d(2, 12, 1)), put("spatial.norm", nn.BatchNorm2d(2).eval()),
        put("spatial.conv", nn.Conv2d(3, 1, 3, padding=1)),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_by_torch(change: Any):
    layer, x = changed(change), torch.randn(2, 12, 5, 6)
    with torch.no_grad(), pytest.raises((RuntimeError, ValueError)):
        layer(x)


def test_threads_may_replace_weights_meanwhile():
    layer, x, stop = randomise(CBAM(64)).eval(), torch.randn(4, 64, 14, 14), threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for gate in (layer.channel.fc1, layer.channel.fc2, layer.spatial.conv):
                gate.weight = nn.Parameter(gate.weight.detach().clone())

    with torch.no_grad():
        expected = layer(x)
        other = threading.Thread(target=replace)
        other.start()
        try:
            assert all(torch.equal(layer(x), expected) for _ in range(300))
        finally:
            stop.set()
            other.join()


def test_explain_names_every_operation_and_changes_nothing():
    layer, x = CBAM(12), torch.randn(2, 12, 5, 6)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.spatial.register_forward_hook(lambda *_: None)
    names = [decision.operation for decision in ops.explain(layer, x)]
    assert names == ["gate_images", "global_pool", "squeeze_channels", "spatial_conv", "apply_gates"]
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())
    assert ops.explain(nn.Conv2d(12, 3, 1), x) == []
    with ops.backend("torch"):
        assert first(CBAM(12), x).reason == "torch was asked for"


def test_one_image_is_taken_on_any_number_of_threads():
    layer = randomise(CBAM(32))
    x = torch.randn(1, 32, 30, 31)
    threads = torch.get_num_threads()
    found: list[list[Tensor]] = []
    try:
        for count in (1, 2, 3, 5):
            torch.set_num_threads(count)
            assert first(layer, x).backend == "native"
            leaf = x.clone().requires_grad_()
            y = layer.eval()(leaf)
            y.square().sum().backward()
            found.append([y.detach(), leaf.grad])
    finally:
        torch.set_num_threads(threads)
    for each in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], each, strict=True))
