"""The linear layer of a few vectors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attnzoo import ops
from tests.ops import cases
from tests.ops.cases import native_only

if cases.HAS_NATIVE:
    from attnzoo.kernels.cpu import library
    from attnzoo.kernels.cpu.dense import launch_linear
    from attnzoo.kernels.cpu.dense.launch_linear import Layer


@native_only
@pytest.mark.parametrize("isa", library.instruction_sets() if cases.HAS_NATIVE else [])
def test_kernel_agrees_with_float64_at_every_edge(isa: str, monkeypatch: pytest.MonkeyPatch):
    kernels = library.Kernels(isa)
    monkeypatch.setattr(launch_linear, "kernels", lambda: kernels)
    n = cases.lanes()
    for batch in (1, 3, 4, 9, 64):
        for inputs in (1, n - 1, n, n + 1, 1027):
            for outputs in (1, 3, 4, 7, 33):
                x, weight, bias = torch.randn(batch, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
                expected = F.linear(x.double(), weight.double(), bias.double())
                whole = torch.full((batch * outputs + 64,), torch.nan)
                launch_linear.linears(x, [Layer(weight, bias, False, False)], whole[32:-32].view(batch, outputs))
                assert int(whole.isnan().sum()) == 64
                got = whole[32:-32].view(batch, outputs).double()
                magnitudes = F.linear(x.abs(), weight.abs(), bias.abs())  # what rounding is in proportion to
                assert float((got - expected).norm()) <= 2 * 2**-24 * float(magnitudes.norm())
                cut = ops.linear(x, weight, bias, relu=True, backend="native")
                assert torch.equal(cut, whole[32:-32].view(batch, outputs).relu())


@native_only
@pytest.mark.parametrize("isa", library.instruction_sets() if cases.HAS_NATIVE else [])
def test_infinity_in_the_overlap_of_the_last_step_is_counted_once(isa: str, monkeypatch: pytest.MonkeyPatch):
    kernels = library.Kernels(isa)
    monkeypatch.setattr(launch_linear, "kernels", lambda: kernels)
    for at in range(21):
        x = torch.rand(1, 21)
        x[0, at] = torch.inf
        y = torch.empty(1, 5)
        launch_linear.linears(x, [Layer(torch.rand(5, 21) + 0.1, None, False, False)], y)
        assert bool((y == torch.inf).all())


@native_only
def test_nan_stays_and_options_are_optional():
    x, weight = torch.randn(2, 20), torch.randn(5, 20)
    x[1, 3] = torch.nan
    got = ops.linear(x, weight, relu=True, backend="native")
    assert bool(got[1].isnan().all())
    torch.testing.assert_close(got[0], F.relu(F.linear(x[0], weight)), rtol=1e-4, atol=1e-5)
    assert ops.linear(x[:0], weight, backend="native").shape == (0, 5)


def test_what_the_kernel_does_not_do_goes_through_torch():
    x, weight, bias = torch.randn(2, 6).double(), torch.randn(5, 6).double(), torch.randn(5).double()
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    assert torch.autograd.gradcheck(lambda *t: ops.linear(*t, relu=True), leaves)
    if cases.HAS_NATIVE:
        with pytest.raises(RuntimeError, match="the kernel has no gradient"):
            ops.linear(*leaves, backend="native")
        with pytest.raises(RuntimeError, match="must be float32"):
            ops.linear(*(t.detach() for t in leaves), backend="native")
        with pytest.raises(RuntimeError, match="at most 64 vectors, got 65"):
            ops.linear(torch.ones(65, 6), torch.ones(5, 6), backend="native")


@native_only
def test_operator():
    torch.library.opcheck(torch.ops.attnzoo.linear.default, (torch.ones(2, 6), torch.ones(5, 6), torch.ones(5), True))


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"x must have shape \(N, C\), got \(2, 3, 4\)"):
        ops.linear(torch.ones(2, 3, 4), torch.ones(5, 4))
    with pytest.raises(ValueError, match=r"weight must have shape \(C', 3\), got \(5, 4\)"):
        ops.linear(torch.ones(2, 3), torch.ones(5, 4))
    with pytest.raises(ValueError, match=r"bias must have shape \(5,\), got \(4,\)"):
        ops.linear(torch.ones(2, 3), torch.ones(5, 3), torch.ones(4))


@pytest.mark.parametrize("backend", ["torch", pytest.param("native", marks=native_only)])
def test_chain_is_one_layer_after_the_other(backend: str):
    shapes = ((7, 20), (33, 7 * 9), (5, 33))
    weights, biases = [torch.randn(shape) for shape in shapes], [torch.randn(7), None, torch.randn(5)]
    layers = [
        ops.LinearLayer(w, b, relu=i < 2, gathered=i == 0) for i, (w, b) in enumerate(zip(weights, biases, strict=True))
    ]
    x = torch.randn(9, 20)
    first = F.relu(F.linear(x.double(), weights[0].double(), layers[0].bias.double()))  # (9, 7)
    second = F.relu(weights[1].double() @ first.t().flatten())
    expected = weights[2].double() @ second + layers[2].bias.double()
    got = ops.linears(x, layers, backend=backend)
    assert got.shape == (1, 5)
    torch.testing.assert_close(got[0].double(), expected, rtol=1e-4, atol=1e-4)
    assert ops.linears(x, layers[:1], backend=backend).shape == (1, 63)


def test_chain_has_gradients_and_checks_shapes():
    x, weight = torch.randn(3, 6).double().requires_grad_(), torch.randn(5, 6).double().requires_grad_()
    layers = lambda *t: [ops.LinearLayer(t[1], gathered=True, relu=True), ops.LinearLayer(t[2])]  # noqa: E731
    last = torch.randn(2, 15).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *t: ops.linears(t[0], layers(*t)), (x, weight, last))
    with pytest.raises(ValueError, match="layers must be at least one"):
        ops.linears(x, [])
    with pytest.raises(ValueError, match=r"weight must have shape \(C', 5\), got \(2, 15\)"):
        ops.linears(torch.ones(3, 6), [ops.LinearLayer(torch.ones(5, 6)), ops.LinearLayer(torch.ones(2, 15))])


@pytest.mark.parametrize("batch", [1, 3, 8, 9, 49])
def test_vectors_that_are_columns_are_turned_on_the_way(batch: int):
    columns, weight, other = torch.randn(21, batch), torch.randn(5, 21), torch.randn(7, 5)
    layers = [ops.LinearLayer(weight, relu=True), ops.LinearLayer(other)]
    with torch.no_grad():
        for given in (columns.t(), torch.randn(batch, 42)[:, ::2]):  # and neither rows nor columns
            found = ops.linears(given, layers, backend="native")
            assert torch.equal(found, ops.linears(given.contiguous(), layers, backend="native"))
            torch.testing.assert_close(found, F.relu(given @ weight.t()) @ other.t())
