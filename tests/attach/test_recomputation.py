"""Gradient checkpointing runs sites again when the model's call is over: the same gradients, whatever else is alive."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import attnzoo
from tests.attach.cases import set_blends

IMAGES = [torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(4)]
MAPS = [(torch.rand(2, 5, 16, 16, generator=torch.Generator().manual_seed(i)) > 0.5).float() for i in range(4)]
KINDS = ["reentrant", "non-reentrant"]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()).relu()


class Net(nn.Module):
    def __init__(self, kind: str | None) -> None:
        super().__init__()
        self.kind = kind
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x) if self.kind is None else checkpoint(block, x, use_reentrant=self.kind == "reentrant")
        return self.fc(x.mean((2, 3)))


def attached(kind: str | None, layer: str = "difference_gate", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    model = Net(kind)
    attachment = attnzoo.attach(model, layer, "blocks.*", example_inputs=IMAGES[0], **options)
    set_blends(attachment, 0.7)
    return model


def loss(model: nn.Module, index: int) -> Tensor:
    return model(IMAGES[index], attention_maps=MAPS[index]).sum() * (index + 1)


def one(model: nn.Module) -> None:
    loss(model, 0).backward()


def summed(model: nn.Module) -> None:
    sum(loss(model, i) for i in range(4)).backward()


def in_another_order(model: nn.Module) -> None:
    losses = [loss(model, i) for i in range(4)]
    for i in (2, 0, 3, 1):
        losses[i].backward()


def twice(model: nn.Module) -> None:
    losses = [loss(model, i) for i in range(2)]
    losses[0].backward(retain_graph=True)
    losses[1].backward()
    losses[0].backward()


def forward_in_threads(model: nn.Module) -> None:
    with ThreadPoolExecutor(4) as pool:
        for each in list(pool.map(lambda i: loss(model, i), range(4))):
            each.backward()


def backward_in_a_thread(model: nn.Module) -> None:
    losses = [loss(model, i) for i in range(2)]
    thread = threading.Thread(target=losses[1].backward)
    thread.start()
    thread.join()
    losses[0].backward()


def held_from_the_step_before(model: nn.Module) -> None:
    before = loss(model, 1)
    before.backward()
    loss(model, 0).backward()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(run: Callable[[nn.Module], None], kind: str, *args: Any, **options: Any) -> None:
    plain, checkpointed = attached(None, *args, **options), attached(kind, *args, **options)
    run(plain)
    run(checkpointed)
    expected = gradients(plain)
    assert any(".attnzoo." in name for name in expected) == any(".attnzoo." in n for n, _ in plain.named_parameters())
    torch.testing.assert_close(gradients(checkpointed), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "run",
    [one, summed, in_another_order, twice, forward_in_threads, backward_in_a_thread, held_from_the_step_before],
    ids=lambda run: run.__name__,
)
def test_each_recomputation_gets_the_maps_of_its_own_call(run: Callable[[nn.Module], None], kind: str) -> None:
    assert_same(run, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_papers_start(kind: str) -> None:
    assert_same(one, kind, init="paper")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("layer", "options"), [("cbam", {}), ("igc", {}), ("llam", {}), ("llam", {"previous": "first"})]
)
def test_other_layers(layer: str, options: dict[str, Any], kind: str) -> None:
    assert_same(lambda model: model(IMAGES[0]).sum().backward(), kind, layer, **options)


@pytest.mark.parametrize("layer", ["llam", "difference_gate"])
def test_compiled_with_checkpointing(layer: str) -> None:
    guided = layer == "difference_gate"
    plain, checkpointed = attached(None, layer), attached("non-reentrant", layer)
    torch.compiler.reset()
    compiled = torch.compile(checkpointed, fullgraph=True, backend="aot_eager")
    for model, called in ((plain, plain), (checkpointed, compiled)):
        called(IMAGES[0], **({"attention_maps": MAPS[0]} if guided else {})).sum().backward()
        assert gradients(model)
    torch.testing.assert_close(gradients(checkpointed), gradients(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_timms_own_checkpointing(name: str) -> None:
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=5).eval()
    set_blends(attnzoo.attach(model, "difference_gate", "stage", num_maps=3, stages=(2,)), 0.7)
    x, maps = torch.randn(2, 3, 64, 64), torch.ones(2, 3, 64, 64)
    model(x, attention_maps=maps).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    model.set_grad_checkpointing()
    model(x, attention_maps=maps).sum().backward()
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_calls_of_several_threads_in_one_go_are_refused() -> None:
    model = attached("non-reentrant")
    with ThreadPoolExecutor(4) as pool:
        losses = list(pool.map(lambda i: loss(model, i), range(4)))
    with pytest.raises(RuntimeError, match="it cannot be told with the maps of which of 4 calls"):
        sum(losses).backward()


def test_gradients_of_a_feature_alone() -> None:
    plain, checkpointed = attached(None), attached("non-reentrant")
    for model in (plain, checkpointed):
        features: list[Tensor] = []
        handle = model.blocks[1].register_forward_hook(lambda *call, seen=features: seen.append(call[-1]))
        model(IMAGES[0], attention_maps=MAPS[0])
        handle.remove()
        features[0].sum().backward()
    torch.testing.assert_close(gradients(checkpointed), gradients(plain), rtol=1e-4, atol=1e-5)


def test_maps_that_are_gone_are_said_to_be() -> None:
    model = attached("reentrant")
    features: list[Tensor] = []
    model.blocks[1].register_forward_hook(lambda *call: features.append(call[-1]))
    model(IMAGES[0], attention_maps=MAPS[0])
    with pytest.raises(RuntimeError, match="the maps of its call are gone: keep the model's output"):
        features[0].sum().backward()


def test_a_site_called_by_itself_does_not_get_the_maps_of_a_call_that_is_over() -> None:
    model = attached("non-reentrant")
    kept = loss(model, 0)
    with pytest.raises(TypeError, match="call it as model"):
        model.blocks[0](torch.randn(2, 12, 16, 16))
    kept.backward()


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # the call without gradients
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_the_maps_live_no_longer_than_the_graph(kind: str | None) -> None:
    model = attached(kind)
    maps = MAPS[0].clone()
    alive = weakref.ref(maps)
    output = model(IMAGES[0], attention_maps=maps)
    output.sum().backward()
    del output, maps
    gc.collect()
    assert alive() is None
    maps = MAPS[0].clone()
    alive = weakref.ref(maps)
    with torch.no_grad():
        output = model(IMAGES[0], attention_maps=maps)
    del maps
    assert alive() is None
    assert output.shape == (2, 3)


def test_torch_func_differentiates_a_guided_model() -> None:
    model = attached(None)
    one(model)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def total(given: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, given, (IMAGES[0],), {"attention_maps": MAPS[0]}).sum()

    torch.testing.assert_close(torch.func.grad(total)(parameters), gradients(model), rtol=1e-4, atol=1e-5)
