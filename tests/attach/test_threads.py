"""Attached models in any number of threads at once, and as the replicas of ``nn.DataParallel``."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import attnzoo
from tests.attach.cases import model_of, set_blends
from tests.attach.replicas import replicas

PROJECT = {"on_mismatch": "project"}
CASES = {
    "se": ("se", "branch", {}),
    "cbam": ("cbam", "block", {}),
    "igc": ("igc", "block", {}),
    "timm": ("timm/eca", "block", {}),
    "llam": ("llam", "block", PROJECT),
    "llam in a slot": ("llam", "branch", PROJECT),
    "llam of a convolution": ("llam", "block", {"previous": "first_conv", **PROJECT}),
    "difference_gate": ("difference_gate", ["layer2.0", "layer3.0"], {}),
}
THREADS = 6


def attached(case: str, init: str) -> tuple[nn.Module, attnzoo.Attachment]:
    layer, where, options = CASES[case]
    model = model_of("resnet")
    attachment = attnzoo.attach(model, layer, where, init=init, **options)
    set_blends(attachment, 0.7)
    return model, attachment


def batches(case: str) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Different images for each thread, and different maps."""
    made = []
    for _ in range(THREADS):
        maps = {"attention_maps": (torch.rand(2, 5, 64, 64) > 0.5).float()} if case == "difference_gate" else {}
        made.append((torch.randn(2, 3, 64, 64), maps))
    return made


@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("case", CASES)
def test_threads_on_one_model_get_what_each_gets_alone(case: str, init: str) -> None:
    model, _ = attached(case, init)
    given = batches(case)
    with torch.no_grad():
        alone = [model(x, **maps) for x, maps in given]

    def job(index: int) -> Tensor:
        x, maps = given[index % THREADS]
        with torch.no_grad():
            return model(x, **maps)

    with ThreadPoolExecutor(THREADS) as pool:
        for index, output in enumerate(pool.map(job, range(10 * THREADS))):
            torch.testing.assert_close(output, alone[index % THREADS])


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("case", CASES)
def test_replicas_of_a_data_parallel_compute_the_same_and_train(case: str, init: str, grad: bool) -> None:
    model, attachment = attached(case, init)
    given = batches(case)
    total = sum(model(x, **maps).square().sum() for x, maps in given)
    parameters = list(attachment.parameters())
    expected = torch.autograd.grad(total, parameters) if parameters else ()
    with torch.set_grad_enabled(grad):
        twins = replicas(model, THREADS)

    def job(index: int) -> Tensor:
        x, maps = given[index]
        with torch.set_grad_enabled(grad):
            return twins[index](x, **maps).square().sum()

    with ThreadPoolExecutor(THREADS) as pool:
        found = sum(pool.map(job, range(THREADS)))
    torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-4)
    if grad and parameters:
        torch.testing.assert_close(torch.autograd.grad(found, parameters), expected, rtol=1e-3, atol=1e-3)


def test_tasks_of_asyncio_share_a_model() -> None:
    model, _ = attached("difference_gate", "paper")
    given = batches("difference_gate")
    with torch.no_grad():
        alone = [model(x, **maps) for x, maps in given]

    def job(x: Tensor, maps: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            return model(x, **maps)

    async def together() -> list[Tensor]:
        return await asyncio.gather(*(asyncio.to_thread(job, x, maps) for x, maps in given))

    for output, expected in zip(asyncio.run(together()), alone, strict=True):
        torch.testing.assert_close(output, expected)


class Recursive(nn.Module):
    """A block that calls itself on its own output, once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor, again: bool = False) -> Tensor:
        y = self.conv(x)
        return self(y) if again else y


def test_a_module_may_be_called_inside_its_own_call() -> None:
    model = nn.Sequential(Recursive()).eval()
    attachment = attnzoo.attach(model, "llam", "0", init="paper", example_inputs=torch.rand(1, 4, 8, 8))
    layer = model[0].attnzoo["0"].layer
    x, conv = torch.randn(1, 4, 8, 8), model[0].conv
    inner = layer(conv(x), conv(conv(x)))  # the inner call's own input, and its output
    torch.testing.assert_close(model[0](x, again=True), layer(x, inner))
    attachment.detach()
    torch.testing.assert_close(model[0](x, again=True), conv(conv(x)))


def test_an_error_in_a_call_leaves_nothing_behind() -> None:
    model, _ = attached("difference_gate", "paper")
    x, maps = batches("difference_gate")[0]
    expected = model(x, **maps)
    with pytest.raises(ValueError, match="attention_maps must have shape"):
        model(x, attention_maps=torch.ones(5, 64, 64))
    with pytest.raises(TypeError, match="call it as model"):
        model(x)
    torch.testing.assert_close(model(x, **maps), expected)


def test_threads_keep_their_attention_while_another_thread_plans_and_attaches() -> None:
    model, _ = attached("difference_gate", "paper")
    x, maps = batches("difference_gate")[0]
    with torch.no_grad():
        expected = model(x, **maps)
    stop, outputs = threading.Event(), []

    def serve() -> None:
        with torch.no_grad():
            while not stop.is_set():
                outputs.append(model(x, **maps))

    thread = threading.Thread(target=serve)
    thread.start()
    for layer in ("se", "llam", "difference_gate"):
        attnzoo.plan(model, layer, ["layer2.0"], **(PROJECT if layer == "llam" else {}))
    attnzoo.attach(model, "cbam", "layer4.0")  # the identity, at first
    stop.set()
    thread.join()
    for output in outputs:
        torch.testing.assert_close(output, expected)
