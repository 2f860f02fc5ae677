"""What the Triton kernels compute, against torch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attnzoo import CBAM, SqueezeExcite, ops
from attnzoo.kernels.triton.rows import CHUNK, COLUMNS
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import OPERATIONS

ROUNDING = {torch.float32: 2**-23, torch.bfloat16: 2**-8, torch.float16: 2**-11}
LAYOUTS = pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
EDGES = [
    (1, CHUNK - 1, 1, 1),
    (2, CHUNK, 1, 3),
    (1, CHUNK + 1, 2, 2),
    (1, 2, 1, COLUMNS - 1),
    (1, 3, 4, COLUMNS // 4),
    (2, 2, 3, (COLUMNS + 1) // 3),
    (2, 37, 7, 7),
    (1, 1, 5, 3),
    (3, 13, 1, 1),
]
"""Sizes at, below and above a tile's width and a chunk of rows, primes, single pixels and channels."""
WIDE = [(1, 2, 1, 1025), (1, 5, 1, 1024), (1, 1025, 1, 2)]
"""Around the longest piece of a row that is read at once, and the number of elements of a program."""


EVERYWHERE = {"pool", "squeeze_gated", "apply_block", "llam_block", "rows"}
"""One of each kernel, with most of what it can do."""
CONVOLVED = [(2, 1, 1, 1), (1, 1, 16, 16), (1, 1, 1, 257), (2, 1, 5, 3)]
"""At and above the number of pixels of a program of the convolution; it knows no layouts, channels or dtypes."""
MAPPED = [name for name in OPERATIONS if not name.startswith("conv")]


def errors(got: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [float((a.double() - b).norm()) for a, b in zip(got, expected, strict=True)]


@LAYOUTS
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", MAPPED)
def test_error_is_at_most_twice_that_of_eager_torch(name: str, dtype: torch.dtype, last: bool):
    whole = dtype == torch.float32 and name in EVERYWHERE
    check_errors(name, EDGES + WIDE if whole else EDGES[2::3], dtype, last)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_error_of_the_convolution(size: int):
    OPERATIONS["sized"] = lambda x, c, s, a: (
        ops.spatial_conv(s.expand(-1, 2, -1, -1) * a, c[:1, :1] * cases._kernel(size, x), a.view(1)),
    )
    check_errors("sized", CONVOLVED[:2] if size == 7 else CONVOLVED, torch.float32, False)
    del OPERATIONS["sized"]


def check_errors(name: str, shapes: list[tuple[int, ...]], dtype: torch.dtype, last: bool) -> None:
    few = []  # the error of a few numbers is luck: they are judged over all shapes together
    for shape in shapes:
        tensors = cases.inputs(shape, dtype, last)
        exact = cases.values_and_gradients(OPERATIONS[name], tensors, "torch", torch.float64)
        eager = errors(cases.values_and_gradients(OPERATIONS[name], tensors, "torch"), exact)
        ours = errors(cases.values_and_gradients(OPERATIONS[name], tensors, "triton"), exact)
        for error, other, value in zip(ours, eager, exact, strict=True):
            allowed = 2 * (other + ROUNDING[dtype] * float(value.norm()))
            if value.numel() < 16:
                few.append((error, allowed))
            else:
                assert error <= allowed, (shape, error, other)
    assert sum(error**2 for error, _ in few) <= sum(allowed**2 for _, allowed in few)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")  # numpy's
@LAYOUTS
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("name", MAPPED)
def test_nan_and_infinity_propagate_as_in_torch(name: str, value: float, last: bool):
    tensors = cases.inputs((2, 19, 5, 7), torch.float32, last)
    for at in ((0, 0, 0, 0), (1, 17, 4, 5)):
        tensors[0][at] = value
    tensors[0][1, 2, 1, :2] = torch.tensor([torch.inf, -torch.inf])  # a sum of NaN without a NaN among the values
    ours = cases.values_and_gradients(OPERATIONS[name], tensors, "triton")
    eager = cases.values_and_gradients(OPERATIONS[name], tensors, "torch")
    for a, b in zip(ours, eager, strict=True):
        if a.dim() == 0:  # the blend's gradient: a sum in which torch meets infinities of both signs
            assert a.isfinite() == b.isfinite()
            continue
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a[a.isinf()], b[b.isinf()])


@pytest.mark.parametrize("name", MAPPED)
def test_memory_format_is_kept_and_any_strides_give_the_same(name: str):
    for last in (False, True):
        x, *gates = cases.inputs((2, 12, 5, 4), torch.float32, last)
        first = cases.values_and_gradients(OPERATIONS[name], [x, *gates], "triton")
        for value in first:
            held = 0 not in value.stride()  # the gradient of averages is the same everywhere and holds no memory
            if value.shape == x.shape and held:
                assert value.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        strided = torch.cat([x, x], 1)[:, :12]
        assert not strided.is_contiguous()
        torch.testing.assert_close(cases.values_and_gradients(OPERATIONS[name], [strided, *gates], "triton"), first)


@pytest.mark.parametrize("name", [*MAPPED, "conv3"])
def test_empty_batch_and_expanded_gradient(name: str):
    tensors = cases.inputs((2, 5, 3, 4), torch.float32)
    empty = [t[:0].clone() if t.dim() else t for t in tensors]
    if name.startswith("conv"):
        empty[1] = tensors[1]  # the kernel's own weight
    expected = cases.values_and_gradients(OPERATIONS[name], empty, "torch")
    torch.testing.assert_close(cases.values_and_gradients(OPERATIONS[name], empty, "triton"), expected)
    results = []
    for backend in ("triton", "torch"):
        leaves = [t.clone().requires_grad_() for t in tensors]
        with ops.backend(backend):
            torch.autograd.backward([o.sum() for o in OPERATIONS[name](*leaves)])
        results.append([t.grad for t in leaves if t.grad is not None])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_the_maximum_shares_its_gradient_evenly():
    x = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0, 0.0]).view(1, 1, 2, 3).requires_grad_()
    ops.global_pool(x, backend="triton").values[1].backward(torch.full((1, 1), 6.0))
    assert x.grad.flatten().tolist() == [0, 2, 2, 0, 2, 0]
    x = torch.tensor([1.0, 3.0, 3.0]).view(1, 3, 1, 1).requires_grad_()
    ops.squeeze_channels(x, backend="triton").planes[:, 1].backward(torch.full((1, 1, 1), 6.0))
    assert x.grad.flatten().tolist() == [0, 3, 3]


def test_a_maximum_of_minus_infinity_has_its_ties():
    """What lies beyond the end of a map counts as minus infinity, and must not be counted with it."""
    x = torch.full((1, 3, 1, 5), -torch.inf)
    for last in (False, True):
        x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        assert torch.ops.attnzoo.global_pool(x, True, True)[1].tolist() == [[5.0] * 3]
        assert torch.ops.attnzoo.squeeze_channels(x, None, True)[1].tolist() == [[[3.0] * 5]]


def test_blend_of_zero_is_the_identity_bit_for_bit():
    x, channel, spatial, _ = cases.inputs((2, 12, 5, 4), torch.bfloat16)
    assert torch.equal(ops.apply_gates(x, (channel, spatial), blend=torch.zeros(()), backend="triton"), x)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck clones its inputs
@LAYOUTS
def test_operators_pass_opcheck(last: bool):
    x, channel, spatial, blend = [t.requires_grad_() for t in cases.inputs((2, 5, 4, 3), torch.float32, last)]
    planes, weight, bias = (
        t.requires_grad_() for t in (torch.randn(2, 2, 5, 4), torch.randn(1, 2, 1, 1), torch.randn(1))
    )
    operators = torch.ops.attnzoo
    torch.library.opcheck(operators.global_pool, (x, True, True))
    torch.library.opcheck(operators.squeeze_channels, (x, channel, True))
    torch.library.opcheck(operators.apply_gates, (x, channel, spatial, blend, x.detach().clone(), False, True))
    torch.library.opcheck(operators.spatial_conv, (planes, weight, bias))


@pytest.mark.parametrize(
    "layer",
    [SqueezeExcite(12), CBAM(12, kernel_size=3), CBAM(12, residual=True, spatial=False)],
    ids=["se", "cbam", "residual"],
)
def test_layers_train_and_infer(layer: nn.Module):
    layer, x, seed = randomise(layer).eval(), torch.randn(2, 12, 6, 5), torch.randn(2, 12, 6, 5)
    results = []
    for backend in ("triton", "torch"):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        with ops.backend(backend):
            y = layer(leaf)
            with torch.no_grad():
                inferred = layer(x)
        y.backward(seed)
        results.append([y.detach(), inferred, leaf.grad, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_one_family_of_kernels_serves_the_processor_and_it_is_never_taken_unasked():
    known = ops.backends()
    assert known["triton"] == (True, "interpreted on the CPU, because TRITON_INTERPRET is set")
    assert not known["native"].available
    x = torch.randn(1, 2, 3, 4)
    with pytest.raises(RuntimeError, match="backend 'native' is not available: TRITON_INTERPRET is set"):
        ops.global_pool(x, backend="native")
    assert ops.eligibility.choose("global_pool", x, None) == "torch"
    with pytest.raises(RuntimeError, match=r"plain CPU tensors of .*got Tensor of torch.float64 on cpu"):
        ops.global_pool(x.double(), backend="triton")


def test_compiled_graphs_hold_the_operators_when_asked_for():
    torch.compiler.reset()
    x = torch.randn(2, 12, 4, 5)
    with ops.backend("triton"):
        compiled = torch.compile(SqueezeExcite(12), backend="aot_eager", fullgraph=True)
        assert compiled(x).shape == x.shape


def test_an_image_that_32_bits_cannot_count_is_refused():
    from attnzoo.kernels.triton.rows import rows_of

    with pytest.raises(ValueError, match=r"at most 2147483647 elements in an image, got \(1, 65536, 256, 256\)"):
        rows_of(torch.empty(1, 65536, 256, 256, device="meta"))


@pytest.mark.parametrize(
    ("shape", "last"),
    [((1, 1, 1024, 1024), False), ((1, 3, 160, 160), False), ((1, 128, 200, 200), True)],
    ids=["1024", "160", "nhwc"],
)
@pytest.mark.parametrize("kind", ["constant", "random"])
def test_means_of_large_maps(kind: str, shape: tuple[int, int, int, int], last: bool):
    x = torch.full(shape, 0.1) if kind == "constant" else torch.rand(shape)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    pooled = ops.global_pool(x, backend="triton").values
    exact = x.double().mean((2, 3))
    assert float(((pooled[0] - exact) / exact).abs().max()) < 1e-6
    torch.testing.assert_close(pooled[1], x.amax((2, 3)), rtol=0, atol=0)


def test_an_image_with_more_elements_than_32_bits_count_is_left_to_torch():
    x = torch.zeros(1, 1, 1, 1).expand(1, 1, 2**16, 2**15)
    with pytest.raises(
        RuntimeError, match=r"count at most 2147483647 elements of an image, got \(1, 1, 65536, 32768\)"
    ):
        ops.global_pool(x, backend="triton")
