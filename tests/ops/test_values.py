"""What the native kernels compute, against torch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnzoo import ops
from tests.ops import cases
from tests.ops.cases import OPERATIONS, native_only

pytestmark = native_only

ROUNDING = {torch.float32: 2**-23, torch.bfloat16: 2**-8, torch.float16: 2**-11}


def errors(got: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [float((a.double() - b).norm()) for a, b in zip(got, expected, strict=True)]


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_error_is_at_most_twice_that_of_eager_torch(name: str, dtype: torch.dtype, last: bool):
    single = []  # the blend's gradient is one number, whose error is luck: judged over all shapes together
    for shape in cases.shapes():
        tensors = cases.inputs(shape, dtype, last)
        exact = cases.values_and_gradients(OPERATIONS[name], tensors, "torch", torch.float64)
        eager = errors(cases.values_and_gradients(OPERATIONS[name], tensors, "torch"), exact)
        native = errors(cases.values_and_gradients(OPERATIONS[name], tensors, "native"), exact)
        for error, other, value in zip(native, eager, exact, strict=True):
            allowed = 2 * (other + ROUNDING[dtype] * float(value.norm()))
            if value.dim() == 0:
                single.append((error, allowed))
            else:
                assert error <= allowed, (shape, error, other)
    assert sum(error**2 for error, _ in single) <= sum(allowed**2 for _, allowed in single)


@pytest.mark.parametrize("name", OPERATIONS)
def test_memory_format_is_kept(name: str):
    for last in (False, True):
        tensors = cases.inputs((2, 12, 5, 4), torch.float32, last)
        expected = torch.channels_last if last else torch.contiguous_format
        for value in cases.values_and_gradients(OPERATIONS[name], tensors, "native"):
            held = 0 not in value.stride()  # the gradient of averages is the same everywhere and holds no memory
            if value.shape == tensors[0].shape and held:
                assert value.is_contiguous(memory_format=expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_any_strides_give_the_same(name: str):
    x, *gates = cases.inputs((2, 12, 5, 4), torch.float32)
    expected = cases.values_and_gradients(OPERATIONS[name], [x, *gates], "native")
    for strided in (x.mT.contiguous().mT, torch.stack([x, x], dim=-1)[..., 0], torch.cat([x, x], 1)[:, :12]):
        assert not strided.is_contiguous()
        torch.testing.assert_close(cases.values_and_gradients(OPERATIONS[name], [strided, *gates], "native"), expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_expanded_gradient(name: str):
    """``y.sum()`` sends a gradient of one element, expanded."""
    tensors = cases.inputs((2, 12, 5, 4), torch.float32, last=True)
    results = []
    for backend, dtype in (("native", torch.float32), ("torch", torch.float64)):
        leaves = [t.detach().to(dtype).requires_grad_() for t in tensors]
        with ops.backend(backend):
            torch.autograd.backward([o.sum() for o in OPERATIONS[name](*leaves)])
        results.append([t.grad.double() for t in leaves if t.grad is not None])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_empty_batch(name: str):
    tensors = cases.inputs((2, 5, 3, 4), torch.float32)
    empty = [t[:0].clone() if t.dim() else t for t in tensors]
    if name.startswith("conv"):
        empty[1] = tensors[1]  # the kernel's own weight
    expected = cases.values_and_gradients(OPERATIONS[name], empty, "torch")
    torch.testing.assert_close(cases.values_and_gradients(OPERATIONS[name], empty, "native"), expected)


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_nan_and_infinity_propagate_as_in_torch(name: str, value: float, last: bool):
    for at in ((0, 0, 0, 0), (1, 17, 4, 5), (0, 18, 4, 6)):
        tensors = cases.inputs((2, 19, 5, 7), torch.float32, last)
        tensors[0][at] = value
        tensors[0][1, 2, 1, :2] = torch.tensor([torch.inf, -torch.inf])  # a sum of NaN without a NaN among the values
        native = cases.values_and_gradients(OPERATIONS[name], tensors, "native")
        eager = cases.values_and_gradients(OPERATIONS[name], tensors, "torch")
        for a, b in zip(native, eager, strict=True):
            if a.dim() == 0:  # the blend's gradient: a sum in which torch meets infinities of both signs
                assert a.isfinite() == b.isfinite()
                continue
            assert torch.equal(a.isnan(), b.isnan())
            assert torch.equal(a[a.isinf()], b[b.isinf()])


def test_the_maximum_shares_its_gradient_evenly():
    x = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0, 0.0]).view(1, 1, 2, 3).requires_grad_()
    ops.global_pool(x, backend="native").values[1].backward(torch.full((1, 1), 6.0))
    assert x.grad.flatten().tolist() == [0, 2, 2, 0, 2, 0]
    x = torch.tensor([1.0, 3.0, 3.0]).view(1, 3, 1, 1).requires_grad_()
    ops.squeeze_channels(x, backend="native").planes[:, 1].backward(torch.full((1, 1, 1), 6.0))
    assert x.grad.flatten().tolist() == [0, 3, 3]


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_number_of_threads_changes_no_bit(name: str):
    tensors = cases.inputs((3, 40, 31, 37), torch.float32, last=True)
    once = cases.values_and_gradients(OPERATIONS[name], tensors, "native")
    torch.set_num_threads(2)
    try:
        many = [cases.values_and_gradients(OPERATIONS[name], tensors, "native") for _ in range(3)]
    finally:
        torch.set_num_threads(1)
    for again in many:
        assert all(torch.equal(a, b) for a, b in zip(again, once, strict=True))


def test_blend_of_zero_is_the_identity_bit_for_bit():
    x, channel, spatial, _ = cases.inputs((2, 12, 5, 4), torch.bfloat16)
    assert torch.equal(ops.apply_gates(x, (channel, spatial), blend=torch.zeros(()), backend="native"), x)


def test_averages_keep_nothing_of_the_map():
    kept: list[tuple[int, ...]] = []
    x = torch.randn(2, 5, 6, 7, requires_grad=True)
    for maximum in (False, True):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(tuple(t.shape)) or t, lambda t: t):
            ops.global_pool(x, maximum=maximum, backend="native")
        assert (tuple(x.shape) in kept) == maximum
