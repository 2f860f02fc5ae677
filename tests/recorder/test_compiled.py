"""Compiled models: recorded passes run eagerly, all others compiled as before, and nothing is compiled again."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import attnzoo


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def model_and_input():
    return nn.Sequential(nn.Conv2d(3, 8, 3), attnzoo.CBAM(8)).eval(), torch.rand(2, 3, 8, 8)


def test_a_compiled_model_is_recorded_eagerly_and_stays_compiled():
    model, x = model_and_input()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.no_grad():
        expected = compiled(x)
        frames = counter.frame_count
        assert frames == 1
        with attnzoo.record(compiled, stride=2) as r:
            for _ in range(4):
                torch.testing.assert_close(compiled(x), expected)
        assert (r.passes, r.recorded) == (4, 2)
        assert set(r.gates) == {"1:channel", "1:spatial"}
        compiled(x)
    assert counter.frame_count == frames


def test_a_model_first_called_under_the_recorder_compiles_afterwards():
    model, x = model_and_input()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.no_grad(), attnzoo.record(compiled) as r:
        compiled(x)
    assert r.recorded == 1
    assert counter.frame_count == 0
    with torch.no_grad():
        compiled(x)
    assert counter.frame_count == 1


def test_a_compiled_part_of_an_eager_model_is_recorded():
    model, x = model_and_input()
    counter = CompileCounter()
    model[1].compile(backend=counter)
    with torch.no_grad():
        model(x)
        assert counter.frame_count == 1
        with attnzoo.record(model) as r:
            model(x)
        assert set(r.gates) == {"1:channel", "1:spatial"}


def test_what_is_compiled_in_place_is_refused():
    model, _ = model_and_input()
    model.compile(backend="eager")
    with pytest.raises(ValueError, match=r"must not be compiled in place by model.compile\(\)"):
        attnzoo.record(model)


def test_the_inner_model_called_through_the_compiled_one_is_said():
    model, x = model_and_input()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(x)
        with (
            pytest.warns(RuntimeWarning, match="the model itself was not called in this thread"),
            attnzoo.record(model),
        ):
            compiled(x)


def test_export_and_compilation_inside_the_block_hold_no_trace_of_it():
    model, x = model_and_input()
    with torch.no_grad(), attnzoo.record(model) as r:
        model(x)
        program = torch.export.export(model[1], (torch.rand(2, 8, 6, 6),))
        torch.compile(model[1], backend="eager", fullgraph=True)(torch.rand(2, 8, 6, 6))
    assert r.recorded == 1
    assert not [node for node in program.graph.nodes if "note" in node.name]
