"""A model that is recorded in one thread, and serves in others: neither hears of the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

import attnzoo
from attnzoo.ops import note_gates
from tests.recorder.given import Given


@contextmanager
def serving(model: Callable[[Tensor], Tensor], x: Tensor, threads: int = 3) -> Iterator[list[object]]:
    """Let threads call the model as long as the context lasts; yields what they got or raised."""
    stop, results = threading.Event(), []

    def serve() -> None:
        torch.set_grad_enabled(False)
        while not stop.is_set():
            try:
                results.append(model(x))
            except Exception as error:  # noqa: BLE001 - it is looked at by the test
                results.append(error)

    running = [threading.Thread(target=serve) for _ in range(threads)]
    for each in running:
        each.start()
    try:
        yield results
    finally:
        stop.set()
        for each in running:
            each.join()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "cbam": lambda: attached("cbam", "block"),
    "se": lambda: attached("se", "branch"),
    "llam": lambda: attached("llam", "block", on_mismatch="project"),
    "timm": lambda: timm.create_model("resnet10t", block_args={"attn_layer": "se"}).eval(),
}


def attached(layer: str, where: str, **options: object) -> nn.Module:
    model = timm.create_model("test_resnet", num_classes=5).eval()
    attnzoo.attach(model, layer, where, **options)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_recording_beside_threads_that_serve(name: str) -> None:
    model = MODELS[name]()
    served, mine = torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(served)
        with attnzoo.record(model) as alone:
            model(mine)
        with serving(model, served) as results:
            for _ in range(10):
                with attnzoo.record(model) as r:
                    model(mine)
                    model(mine)
                assert (r.passes, r.recorded) == (2, 2)
                assert r.gates.keys() == alone.gates.keys()
                for gate, value in alone.gates.items():
                    torch.testing.assert_close(r.gates[gate], value)
    assert len(results) > 10
    for result in results:
        torch.testing.assert_close(result, expected)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_other_threads_run_the_compiled_model_while_one_records_it() -> None:
    torch._dynamo.reset()
    eager: list[int] = []

    class Notes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not torch.compiler.is_compiling():
                eager.append(threading.get_ident())
            return x

    model = nn.Sequential(nn.Conv2d(3, 8, 3), attnzoo.CBAM(8), Notes()).eval()
    counter = CompileCounter()
    compiled, x = torch.compile(model, backend=counter), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = compiled(x)
        frames = counter.frame_count
        eager.clear()
        with serving(compiled, x) as results:
            for _ in range(20):
                with attnzoo.record(compiled) as r:
                    compiled(x)
                assert set(r.gates) == {"1:channel", "1:spatial"}
        compiled(x)
    assert counter.frame_count == frames
    assert eager == [threading.get_ident()] * 20
    assert results
    for result in results:
        torch.testing.assert_close(result, expected)
    torch._dynamo.reset()


def test_a_compiled_method_is_recorded() -> None:
    torch._dynamo.reset()
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), attnzoo.CBAM(8)).eval(), torch.rand(2, 3, 8, 8)
    model[1].forward = torch.compile(model[1].forward, backend="eager")
    with torch.no_grad():
        expected, held = model(x), model[1].forward
        with attnzoo.record(model) as r:
            torch.testing.assert_close(model(x), expected)
        assert set(r.gates) == {"1:channel", "1:spatial"}
        assert model[1].forward is held
    torch._dynamo.reset()


@pytest.mark.parametrize("first_out", [0, 1])
def test_two_recorders_in_one_thread_end_in_any_order(first_out: int) -> None:
    model = nn.Sequential(Given())
    gate = torch.full((1, 4, 1, 1), 0.5)
    recorders = [attnzoo.record(model), attnzoo.record(model)]
    for r in recorders:
        r.__enter__()
    model(gate)
    recorders[first_out].__exit__(None, None, None)
    model(gate)
    recorders[1 - first_out].__exit__(None, None, None)
    model(gate)
    assert recorders[first_out].recorded == 1
    assert recorders[1 - first_out].recorded == 2
    assert all(set(r.gates) == {"0:given"} for r in recorders)


def test_recorders_of_two_models_in_two_threads() -> None:
    found: dict[int, attnzoo.Recorder] = {}

    def job(index: int) -> None:
        model = nn.Sequential(Given())
        with attnzoo.record(model) as found[index]:
            for _ in range(20):
                model(torch.full((1, 4, 1, 1), 0.2 + index / 10))

    threads = [threading.Thread(target=job, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        assert found[index].recorded == 20
        assert found[index].statistics()["0:given"].mean == pytest.approx(0.2 + index / 10)


def test_what_asyncio_runs_in_threads_on_behalf_of_the_recording_task_is_recorded() -> None:
    model = nn.Sequential(Given())

    async def together() -> attnzoo.Recorder:
        with attnzoo.record(model) as r:
            await asyncio.gather(*(asyncio.to_thread(model, torch.full((1, 4, 1, 1), 0.5)) for _ in range(8)))
        return r

    r = asyncio.run(together())
    assert (r.passes, r.recorded) == (8, 8)
    assert r.statistics()["0:given"].values == 32


def test_a_call_inside_a_call_is_a_pass_of_its_own() -> None:
    class Nested(nn.Module):
        def forward(self, x: Tensor, again: bool = True) -> Tensor:
            y = self(x, again=False) if again else x
            note_gates(self, {"inner" if not again else "outer": x})
            return y

    model = Nested()
    with attnzoo.record(model, keep=2) as r:
        model(torch.full((1, 4, 1, 1), 0.5))
    assert r.passes == r.recorded == 2
    assert len(r.history(":inner")) == len(r.history(":outer")) == 1


def in_a_thread(model: nn.Module, x: Tensor) -> None:
    thread = threading.Thread(target=model, args=(x,))
    thread.start()
    thread.join()


def test_a_model_called_in_another_thread_alone_is_said() -> None:
    model = nn.Sequential(Given())
    with pytest.warns(RuntimeWarning, match="was not called in this thread"), attnzoo.record(model):
        in_a_thread(model, torch.full((1, 4, 1, 1), 0.5))
