"""Products of matrices by oneDNN: torch's own, to rounding, and torch's own where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from attnzoo import ops
from attnzoo.ops import torch_internals
from attnzoo.ops.dense import onednn

built = pytest.mark.skipif(not torch_internals.HAS_LINEAR_POINTWISE, reason="this torch was built without oneDNN")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def given(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(5, 37, dtype=dtype), torch.randn(19, 37, dtype=dtype), torch.randn(19, dtype=dtype)


@built
@pytest.mark.parametrize("bias", [False, True])
def test_linear_is_torchs(bias: bool):
    x, weight, offset = given()
    assert onednn.is_usable(x, weight, offset)
    arguments = (x, weight, offset if bias else None)
    expected = F.linear(*(None if t is None else t.double() for t in arguments))
    torch.testing.assert_close(onednn.linear(*arguments).double(), expected, rtol=1e-5, atol=1e-5)


@built
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5)])
@pytest.mark.parametrize("added", [False, True])
def test_a_pointwise_convolution_is_torchs_and_keeps_what_is_not_finite(added: bool, size: tuple[int, int]):
    x, weight, bias, other = (
        torch.randn(2, 6, *size),
        torch.randn(11, 6, 1, 1),
        torch.randn(11),
        torch.randn(2, 11, *size),
    )
    x[0, 1, 0, 0], other[0, 4, 0, -1], other[1, 2, -1, -1] = torch.inf, torch.nan, -torch.inf
    x, other = (t.contiguous(memory_format=torch.channels_last) for t in (x, other))
    kept = other.clone()
    got = onednn.pointwise(x, weight, bias, other if added else None)
    expected = F.conv2d(x.double(), weight.double(), bias.double()) + (other if added else 0)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert not bool(expected.isfinite().all())
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert torch.equal(other.nan_to_num(7.0), kept.nan_to_num(7.0))


def switched_off() -> AbstractContextManager[None]:
    return torch.backends.mkldnn.flags(enabled=False)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # torch's own, when oneDNN is switched off
@pytest.mark.parametrize(
    "around",
    [torch.enable_grad, switched_off, lambda: torch.autocast("cpu", torch.bfloat16), FlopCounterMode, FakeTensorMode],
    ids=["gradients", "switched off", "autocast", "counter", "fake"],
)
def test_where_somebody_looks_torch_is_called(around: Callable[[], AbstractContextManager[object]]):
    with around():
        x, weight, bias = given()
        assert not onednn.is_usable(x, weight, bias)
        assert onednn.linear(x, weight, bias).dtype == F.linear(x, weight, bias).dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_and_no_vectors_are_torchs(dtype: torch.dtype):
    x, weight, bias = given(dtype)
    assert torch.equal(onednn.linear(x, weight, bias), F.linear(x, weight, bias))
    assert onednn.linear(torch.ones(0, 37), *given()[1:]).shape == (0, 19)
    with pytest.raises(RuntimeError, match="dtype"):
        onednn.linear(x, *given()[1:])


class Named(Tensor):
    """A tensor with operators of its own, as quantised and sharded weights are."""


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("own", [lambda t: t.as_subclass(Named), Tensor.to_sparse_csr])
def test_weights_with_operators_of_their_own_keep_them(own: Callable[[Tensor], Tensor]):
    x, weight, bias = given()
    assert onednn.is_usable(x, weight, bias)
    assert not onednn.is_usable(x, own(weight), bias)
    got = onednn.linear(x, own(weight), bias).as_subclass(Tensor)
    torch.testing.assert_close(got, F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


def test_transforms_and_counters_see_the_operation():
    x, weight, bias = given()
    with FlopCounterMode(display=False) as counter, ops.backend("torch"):
        ops.linear(x, weight, bias)
    assert counter.get_total_flops() == 2 * 5 * 37 * 19
    mapped = torch.func.vmap(lambda t: onednn.linear(t, weight, bias))(x.view(5, 1, 37))
    torch.testing.assert_close(mapped[:, 0], F.linear(x, weight, bias))
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(onednn.linear(x.requires_grad_(), weight, bias).sum(), x)
    torch.testing.assert_close(gradient, weight.sum(0).expand(5, 37))
