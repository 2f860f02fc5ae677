"""CEDNN's block in training as one operation: against the paper's equations, at every edge, in every set."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnzoo import IGCBlock, ops
from attnzoo.ops.igc import Stage, igc_training
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import native_only
from tests.oracles import igc as oracle

if cases.HAS_NATIVE:
    from attnzoo.kernels.cpu import library
    from attnzoo.kernels.cpu.igc import launch_step

SETS = library.instruction_sets() if cases.HAS_NATIVE else []


@pytest.fixture(params=SETS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute by the kernels of one instruction set."""
    kernels = library.Kernels(request.param)
    monkeypatch.setattr(launch_step, "kernels", lambda: kernels)
    return request.param


def make(channels: int, groups: int, connection: str = "res", outputs: int | None = None) -> IGCBlock:
    """Return a block in float64 some of whose last gains are negative and one of which is zero."""
    block = IGCBlock(channels, groups=groups, connection=connection, out_channels=outputs, dtype=torch.float64)
    randomise(block)
    with torch.no_grad():
        block.norm.weight[::2] *= -1
        block.norm.weight[-1] = 0
        block.norm.bias[-1] = -1
    return block


def stages(block: IGCBlock, tensors: list[Tensor]) -> list[Stage]:
    """Return the block's stages with other learned tensors, in the order of its parameters."""
    norms = (block.branch.norm1, block.branch.norm2, block.norm)
    return [Stage(*tensors[4 * k : 4 * k + 4], *statistics(norm), norm.eps) for k, norm in enumerate(norms)]


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    return torch.full_like(norm.running_mean, torch.nan), torch.full_like(norm.running_var, torch.nan)


class Found(NamedTuple):
    y: Tensor
    dx: Tensor
    learned: list[Tensor]
    moments: list[Tensor]


def computed(block: IGCBlock, x: Tensor, pool: bool, backend: str, dtype: torch.dtype) -> Found:
    """Return map, gradients for the same random gradient, and moments."""
    tensors = [p.detach().to(dtype).requires_grad_() for p in block.parameters()]
    given = x.detach().to(dtype).requires_grad_()
    own = stages(block, tensors)
    y, moments = igc_training(given, own, groups=block.branch.groups, pool=pool, backend=backend)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    dx, *learned = torch.autograd.grad(y, [given, *tensors], dy.to(dtype))
    return Found(y.detach(), dx, learned, [t for pair in moments for t in pair])


def distance(got: Tensor, exact: Tensor) -> float:
    assert got.shape == exact.shape
    return float((got.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("connection", ["res", "dense"])
@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (6, 6)])
def test_torch_path_agrees_with_the_paper(channels: int, groups: int, connection: str, pool: bool):
    block, x = make(channels, groups, connection, channels + 1), torch.randn(2, channels, 5, 4, dtype=torch.float64)
    tensors = [p.detach().requires_grad_() for p in block.parameters()]
    x.requires_grad_()
    own = stages(block, tensors)
    got = igc_training(x, own, groups=groups, pool=pool, backend="torch")
    exact = [oracle.Stage(s.weight, s.bias, None, (s.gain, s.offset), s.epsilon) for s in own]
    expected = oracle.block(x, tuple(exact), groups, dense=connection == "dense")
    expected = F.max_pool2d(expected, 2) if pool else expected
    torch.testing.assert_close(got.map, expected, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(y, [x, *tensors], torch.ones_like(y).cumsum(1)) for y in (got.map, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)
    convolved = F.conv2d(x, tensors[0], None, padding=1, groups=groups)
    torch.testing.assert_close(got.moments[0].mean, convolved.mean((0, 2, 3)))
    torch.testing.assert_close(got.moments[0].variance, convolved.var((0, 2, 3), correction=0))


def edges() -> list[tuple[int, int]]:
    """Return heights and widths around a vector, a tile and a band, odd and even, with and without room to pool."""
    n = cases.lanes()
    wide = [(2, 2 * n - 2), (3, 2 * n - 1), (5, 2 * n + 1), (4, 4 * n), (1, 4 * n + 1)]
    return [(1, 2), (2, 1), (2, 2), (3, 3), (7, 7), (14, 14), (33, 18), (64, 5), (23, 50), *wide]


@native_only
@pytest.mark.parametrize(
    ("channels", "groups", "connection"),
    [(18, 18, "res"), (18, 3, "dense"), (12, 2, "res"), (36, 6, "dense"), (35, 7, "res"), (72, 36, "res")],
)
def test_errors_are_those_of_eager_at_every_edge(channels: int, groups: int, connection: str, isa: str):
    """At most twice eager's. Of a weight's sums each alone may be unlucky: all of them together, and each 16 times."""
    block = make(channels, groups, connection, channels + 5)
    for height, width in edges():
        x = torch.randn(4, channels, height, width)
        for pool in (False, True):
            if pool and min(height, width) < 2:
                continue
            exact = computed(block, x, pool, "torch", torch.float64)
            eager = computed(block, x, pool, "torch", torch.float32)
            found = computed(block, x, pool, "native", torch.float32)
            where = (height, width, pool)
            floor = 2e-6  # so small a sum of ten numbers may round to by chance
            assert distance(found.y, exact.y) < max(floor, 2 * distance(eager.y, exact.y)), where
            assert distance(found.dx, exact.dx) < max(floor, 2 * distance(eager.dx, exact.dx)), where
            for got, expected in zip(found.moments, exact.moments, strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
            pairs = zip(found.learned, eager.learned, exact.learned, strict=True)
            both = [(distance(a, c), distance(b, c)) for k, (a, b, c) in enumerate(pairs) if k % 4 != 1]
            ours, theirs = (torch.tensor(each) for each in zip(*both, strict=True))
            assert float(ours.norm()) < max(4 * floor, 2 * float(theirs.norm())), where
            assert bool((ours < (16 * theirs).clamp_min(8 * floor)).all()), where


@native_only
def test_biases_in_front_of_norms_get_zeros(isa: str):
    found = computed(make(18, 6), torch.randn(2, 18, 6, 6), True, "native", torch.float32)
    assert not any(found.learned[k].any() for k in (1, 5, 9))
    assert all(found.learned[k].any() for k in range(12) if k % 4 != 1)


@native_only
def test_maps_that_lie_far_from_zero_keep_their_variance(isa: str):
    """A variance by the mean of squares would lose all digits."""
    block, x = make(18, 18), torch.randn(2, 18, 20, 20) + 1000
    exact, found = (computed(block, x, False, *how) for how in (("torch", torch.float64), ("native", torch.float32)))
    for got, expected in zip(found.moments, exact.moments, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@native_only
@pytest.mark.parametrize("connection", ["res", "dense"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (7, 9), (33, 34), (5, 70)])
def test_every_output_is_written_and_nothing_else(
    height: int, width: int, connection: str, isa: str, monkeypatch: pytest.MonkeyPatch
):
    """Whatever memory the passes are given holds NaN, and so do its surroundings."""
    given: list[tuple[Tensor, Tensor]] = []

    def poisoned(shape: Any, dtype: torch.dtype = torch.float32, **_: Any) -> Tensor:
        size = torch.Size([shape] if isinstance(shape, int) else shape)
        whole = torch.full((size.numel() + 64,), torch.nan, dtype=dtype)
        given.append((whole, whole[32:-32].view(size)))
        return given[-1][1]

    block, x = make(18, 6, connection, 7), torch.randn(2, 18, height, width)
    monkeypatch.setattr(torch, "empty_like", lambda t, **_: poisoned(t.shape, t.dtype))
    monkeypatch.setattr(Tensor, "new_empty", lambda t, shape, dtype=None: poisoned(shape, dtype or t.dtype))
    for pool in (False, True):
        found = computed(block, x, pool, "native", torch.float32)
        assert not any(bool(t.isnan().any()) for t in (found.y, found.dx, *found.learned, *found.moments))
    monkeypatch.undo()
    assert len(given) >= 30
    for whole, inside in given:
        assert int(whole.isnan().sum()) == 64 or inside.numel() == 0


@native_only
def test_same_bits_on_any_number_of_threads_and_for_any_strides(isa: str):
    block, x = make(18, 6), torch.randn(3, 18, 60, 70)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            both = (x, x.contiguous(memory_format=torch.channels_last))
            made += [computed(block, given, True, "native", torch.float32) for given in both]
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert torch.equal(made[0].y, other.y)
        assert torch.equal(made[0].dx, other.dx)
        assert all(map(torch.equal, made[0].learned, other.learned))


@native_only
def test_parts_may_be_left_out():
    """No biases, no affine norms, no gradient of x."""
    block, x = make(18, 6).float(), torch.randn(2, 18, 8, 8)
    weights = [s.weight.detach().requires_grad_() for s in stages(block, list(block.parameters()))]
    results = []
    for backend in ("native", "torch"):
        own = [Stage(w, None, None, None, *[torch.ones(1)] * 2, 1e-5) for w in weights]
        y = igc_training(x, own, groups=6, pool=True, backend=backend).map
        results.append([y.detach(), *torch.autograd.grad(y.square().sum(), weights)])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@native_only
def test_memory_that_is_kept():
    block, x, kept = make(18, 6).float(), torch.randn(2, 18, 32, 32).requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        igc_training(x, stages(block, list(block.parameters())), groups=6, pool=True, backend="native")
    maps = {t.data_ptr(): t.numel() for t in kept if t.dim() == 4 and t.shape[2] > 3}
    assert sum(maps.values()) <= 3.25 * x.numel()


@native_only
def test_second_derivatives_and_batches_of_gradients():
    block, x = make(6, 2), torch.randn(2, 6, 4, 6)
    results = []
    for backend, dtype in (("native", torch.float32), ("torch", torch.float64)):
        tensors = [p.detach().to(dtype).requires_grad_() for p in block.parameters()]
        given = x.to(dtype).requires_grad_()
        y = igc_training(given, stages(block, tensors), groups=2, pool=True, backend=backend).map
        generator = torch.Generator().manual_seed(1)
        dy = torch.randn((3, *y.shape), generator=generator).to(dtype)
        many = torch.autograd.grad(y, [given, *tensors], dy, is_grads_batched=True, retain_graph=True)
        first = torch.autograd.grad(y, [given, *tensors], dy[0], create_graph=True)
        learned = [given, *(t for k, t in enumerate(tensors) if k % 4 != 1)]
        second = torch.autograd.grad(sum(g.square().sum() for g in first), learned)
        results.append([t.double() for t in (*many, *first, *second)])
    torch.testing.assert_close(*results, rtol=2e-3, atol=2e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch own forward formulas
def test_transforms_go_through_torch():
    block, x = make(6, 2).float(), torch.randn(2, 6, 4, 5)
    own = stages(block, [p.detach() for p in block.parameters()])
    call = lambda t: igc_training(t, own, groups=2).map  # noqa: E731
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(call(leaf).square().sum(), leaf)[0]
    torch.testing.assert_close(torch.func.grad(lambda t: call(t).square().sum())(x), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.func.vmap(call)(x[None])[0], call(x), rtol=1e-4, atol=1e-5)
    tangent = torch.randn_like(x)
    _, forward = torch.func.jvp(lambda t: call(t).square().sum(), (x,), (tangent,))
    torch.testing.assert_close(forward, (expected * tangent).sum(), rtol=1e-3, atol=1e-3)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), call(x), rtol=1e-4, atol=1e-5)


def test_gradcheck_in_float64():
    block, x = make(6, 3, "dense"), torch.randn(2, 6, 3, 4, dtype=torch.float64)
    tensors = [p.detach().requires_grad_() for p in block.parameters()]
    call = lambda t, *own: igc_training(t, stages(block, list(own)), groups=3, pool=True).map  # noqa: E731
    assert torch.autograd.gradcheck(call, (x.requires_grad_(), *tensors))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(18, 4, 4), r"x must have shape \(B, C, H, W\), got \(18, 4, 4\)"),
        (torch.ones(1, 18, 1, 4), r"x must have at least 2x2 pixels, got \(1, 18, 1, 4\)"),
        (torch.ones(2, 9, 4, 4), r"x must have 18 channels, got 9"),
        (torch.ones(0, 18, 4, 4), r"x must have more than one value a channel in training, got \(0, 18, 4, 4\)"),
    ],
)
def test_bad_input(x: Tensor, message: str):
    own = stages(make(18, 6).float(), list(make(18, 6).float().parameters()))
    with pytest.raises(ValueError, match=message):
        igc_training(x, own, groups=6, pool=True)


@native_only
def test_an_explicit_choice_that_cannot_run_raises():
    block = make(18, 6)
    own = stages(block, list(block.parameters()))
    with pytest.raises(RuntimeError, match="all tensors must be float32"):
        igc_training(torch.ones(2, 18, 4, 4, dtype=torch.float64), own, groups=6, backend="native")
    with ops.backend("torch"):
        assert igc_training(torch.ones(2, 18, 4, 4, dtype=torch.float64), own, groups=6).map.shape == (2, 18, 4, 4)


@native_only
def test_moments_of_large_even_maps_are_as_exact_as_eager(isa: str):
    """All roundings go the same way there."""
    for channels, groups, size in ((6, 3, 256), (64, 32, 64)):
        block, x = make(channels, groups, "res", channels), torch.full((1, channels, size, size), 0.1)
        exact = computed(block, x, False, "torch", torch.float64)
        eager = computed(block, x, False, "torch", torch.float32)
        found = computed(block, x, False, "native", torch.float32)
        for a, b, c in zip(found.moments, eager.moments, exact.moments, strict=True):
            assert distance(a, c) < max(3e-6, 2 * distance(b, c))
