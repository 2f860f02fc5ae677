"""apply_gates: plain, residual and blended, against the formula written out, and on bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnzoo.ops import apply_gates

SHAPES = {"channel": (2, 3, 1, 1), "spatial": (2, 1, 4, 5), "row": (1, 1, 4, 1), "full": (2, 3, 4, 5), "scalar": ()}


def written_out(
    x: torch.Tensor, gates: list[torch.Tensor], blend: torch.Tensor | None, *, residual: bool
) -> torch.Tensor:
    """Go over the elements one by one: x (g1 g2 .. (+ 1)), and x ((1 + a (g1 - 1)) (1 + a (g2 - 1)) .. (+ a))."""
    out = torch.empty_like(x)
    full = [gate.expand(x.shape) for gate in gates]
    for index in torch.cartesian_prod(*(torch.arange(size) for size in x.shape)).tolist():
        at = tuple(index)
        share = 1 if blend is None else blend
        factor = torch.ones_like(x[at])
        for gate in full:
            factor = factor * (1 + share * (gate[at] - 1))
        out[at] = x[at] * (factor + share if residual else factor)
    return out


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("blend", [None, 0.0, 0.3, 1.0, -2.0])
@pytest.mark.parametrize(
    "names", [["channel"], ["spatial"], ["channel", "spatial"], ["row", "full", "scalar"]], ids=str
)
def test_agrees_with_the_formula(names: list[str], blend: float | None, residual: bool):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    gates = [torch.rand(SHAPES[name], dtype=torch.float64) for name in names]
    a = None if blend is None else torch.tensor(blend, dtype=torch.float64)
    expected = written_out(x, gates, a, residual=residual)
    torch.testing.assert_close(apply_gates(x, gates, blend=a, residual=residual), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blend_zero_is_the_identity_bit_for_bit(dtype: torch.dtype, residual: bool):
    x = torch.randn(2, 3, 4, 5).to(dtype)
    x[0, 0, 0, :4] = torch.tensor([0.0, -0.0, torch.inf, torch.finfo(dtype).tiny])
    gates = [torch.rand(2, 3, 1, 1).to(dtype), torch.rand(2, 1, 4, 5).to(dtype)]
    got = apply_gates(x, gates, blend=torch.zeros((), dtype=dtype), residual=residual)
    assert torch.equal(got.view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize("memory", ["NCHW", "NHWC", "NWHC"])
def test_a_map_with_gaps_comes_back_in_the_order_that_convolutions_see(memory: str):
    """A convolution after an attached layer must take the algorithm that it took before, or it rounds differently."""
    gaps = torch.randn(2, 9, 8, 8)[:, 1:]  # as tokens behind a class token have
    x = gaps.permute([memory.index(axis) for axis in "NCHW"])
    assert not x.is_contiguous()
    assert not x.is_contiguous(memory_format=torch.channels_last)
    y = apply_gates(x, [torch.rand(2, 8, 1, 1)], blend=torch.zeros(1), backend="native")
    assert torch.equal(y, x)
    assert y.is_contiguous(memory_format=torch.channels_last) == (memory == "NHWC")


def test_gradient_of_a_blend_of_zero_is_not_zero():
    """The blend starts at 0 and must be able to leave it."""
    x = torch.randn(2, 3, 4, 5)
    blend = torch.zeros((), requires_grad=True)
    apply_gates(x, [torch.rand(2, 3, 1, 1)], blend=blend).backward(torch.randn(2, 3, 4, 5))
    assert float(blend.grad) != 0


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("blend", [False, True])
def test_gradcheck(blend: bool, residual: bool):
    x, channel, spatial, a = (
        torch.rand(shape, dtype=torch.float64, requires_grad=True)
        for shape in [(2, 3, 2, 2), (2, 3, 1, 1), (2, 1, 2, 2), ()]
    )

    def run(x: torch.Tensor, channel: torch.Tensor, spatial: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return apply_gates(x, [channel, spatial], blend=a if blend else None, residual=residual)

    assert torch.autograd.gradcheck(run, (x, channel, spatial, a))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "options", [{}, {"residual": True}, {"blend": torch.tensor(0.5)}], ids=["plain", "res", "blend"]
)
def test_a_wider_gate_does_not_widen_the_map(options: dict[str, Any], count: int):
    x = torch.randn(2, 3, 4, 5).bfloat16()
    gates = [torch.rand(2, 3, 1, 1)] * count
    got = apply_gates(x, gates, **options)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), apply_gates(x.float(), gates, **options), rtol=2**-6, atol=0)


def test_keeps_the_memory_format():
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for options in ({}, {"residual": True}, {"blend": torch.tensor(0.5)}):
        got = apply_gates(x, [torch.rand(2, 3, 1, 1), torch.rand(2, 1, 4, 5)], **options)
        assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ([], r"gates must hold at least one tensor, got \[\]"),
        ([torch.ones(2, 4, 1, 1)], r"gates must broadcast to x \(2, 3, 4, 5\), got one of shape \(2, 4, 1, 1\)"),
        (
            [torch.ones(2, 3, 1, 1), torch.ones(2, 1, 5, 4)],
            r"gates must broadcast to x .*got one of shape \(2, 1, 5, 4\)",
        ),
        ([torch.ones(1, 2, 3, 4, 5)], r"gates must broadcast to x .*got one of shape \(1, 2, 3, 4, 5\)"),
    ],
)
def test_bad_gates(gates: list[torch.Tensor], message: str):
    with pytest.raises(ValueError, match=message):
        apply_gates(torch.zeros(2, 3, 4, 5), gates)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("backend", ["torch", "auto"])
@pytest.mark.parametrize("names", [["channel"], ["spatial"], ["channel", "spatial"], ["full"]], ids=str)
def test_shortcut_and_relu_are_those_of_a_residual_block(names: list[str], backend: str, added: bool, relu: bool):
    x, other, seed = (torch.randn(2, 3, 4, 5).requires_grad_() for _ in range(3))
    gates = [torch.rand(SHAPES[name]) for name in names]
    expected = written_out(x.detach(), gates, torch.tensor(0.3), residual=True) + (other.detach() if added else 0)
    mask = expected > 0 if relu else torch.ones_like(expected, dtype=torch.bool)
    factor = written_out(torch.ones_like(x), gates, torch.tensor(0.3), residual=True)
    shortcut = other if added else None
    y = apply_gates(x, gates, blend=torch.tensor(0.3), residual=True, shortcut=shortcut, relu=relu, backend=backend)
    torch.testing.assert_close(y, expected * mask)
    y.backward(seed.detach())
    torch.testing.assert_close(x.grad, seed.detach() * mask * factor)
    if added:
        assert torch.equal(other.grad, seed.detach() * mask)


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_nothing_passes_back_where_the_output_is_zero_and_nan_passes(backend: str):
    x = torch.tensor([0.0, -0.0, torch.nan, 1.0, 2.0]).view(1, 5, 1, 1).requires_grad_()
    shortcut = torch.tensor([0.0, -0.0, 1.0, -1.0, torch.nan]).view(1, 5, 1, 1).requires_grad_()
    y = apply_gates(x, [torch.ones(1, 5, 1, 1)], shortcut=shortcut, relu=True, backend=backend)
    y.sum().backward()
    assert y.flatten().isnan().tolist() == [False, False, True, False, True]
    assert shortcut.grad.flatten().tolist() == x.grad.flatten().tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("added", [False, True])
def test_a_relu_keeps_no_map_but_what_its_neighbours_keep(added: bool):
    """Without a shortcut the mask is computed again; with one the output is kept, as the next layer keeps it."""
    x, other, kept = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5), set()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.add((tensor.data_ptr(), tensor.shape == x.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = apply_gates(x, [torch.rand(2, 3, 1, 1)], shortcut=other if added else None, relu=True, backend="auto")
    maps = {pointer for pointer, is_map in kept if is_map}
    assert maps == ({x.data_ptr(), y.data_ptr()} if added else {x.data_ptr()})


def test_a_wider_shortcut_does_not_widen_the_map():
    x, shortcut = torch.randn(2, 3, 4, 5).bfloat16(), torch.randn(2, 3, 4, 5)
    got = apply_gates(x, [torch.ones(2, 3, 1, 1)], shortcut=shortcut)
    torch.testing.assert_close(got, (x + shortcut).bfloat16())
    with pytest.raises(RuntimeError, match=r"shortcut must have the dtype of x, torch\.bfloat16, got torch\.float32"):
        apply_gates(x, [torch.ones(2, 3, 1, 1)], shortcut=shortcut, backend="native")


def test_a_shortcut_must_have_the_shape_of_the_map():
    with pytest.raises(ValueError, match=r"shortcut must have the shape of x \(2, 3, 4, 5\), got \(2, 3, 1, 1\)"):
        apply_gates(torch.zeros(2, 3, 4, 5), [torch.ones(2, 3, 1, 1)], shortcut=torch.zeros(2, 3, 1, 1))


def test_a_gate_may_not_widen_the_map():
    """Broadcasting both ways would silently return a larger map."""
    with pytest.raises(ValueError, match=r"gates must broadcast to x \(1, 3, 4, 5\), got one of shape \(2, 3, 1, 1\)"):
        apply_gates(torch.zeros(1, 3, 4, 5), [torch.ones(2, 3, 1, 1)])
