"""CEDNN's block as one operation: against the paper's equations, at every edge, in every instruction set."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attnzoo import DifferenceGate, IGCBlock, ops
from attnzoo.ops import igc
from attnzoo.ops.igc import igc_block
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import native_only
from tests.oracles import igc as oracle

if cases.HAS_NATIVE:
    from attnzoo.kernels.cpu import library
    from attnzoo.kernels.cpu.igc import launch

SETS = library.instruction_sets() if cases.HAS_NATIVE else []


@pytest.fixture(params=SETS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute by the kernels of one instruction set."""
    kernels = library.Kernels(request.param)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    return request.param


def make(channels: int, groups: int, connection: str = "res", outputs: int | None = None) -> IGCBlock:
    block = IGCBlock(channels, groups=groups, connection=connection, out_channels=outputs, dtype=torch.float64)
    return randomise(block).eval()


def stages(block: IGCBlock, dtype: torch.dtype = torch.float64) -> list[igc.Stage]:
    """Return the block's stages in another dtype; ``IGCBlock.stages`` is what the layer's own tests are about."""
    pairs = ((block.branch.conv1, block.branch.norm1), (block.branch.conv2, block.branch.norm2))
    found = [igc.Stage.of(*pair) for pair in (*pairs, (block.fuse, block.norm))]
    return [igc.Stage(*(t.detach().to(dtype) if isinstance(t, Tensor) else t for t in each)) for each in found]


def exact(block: IGCBlock, x: Tensor) -> Tensor:
    """Return the block's output by the paper's equations."""
    found = [oracle.Stage(s.weight, s.bias, (s.mean, s.variance), (s.gain, s.offset), s.epsilon) for s in stages(block)]
    return oracle.block(x.double(), tuple(found), block.branch.groups, dense=block.connection == "dense")


def error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected).abs().max() / (expected.abs().max() + 1e-9)) if got.numel() else 0.0


@pytest.mark.parametrize("connection", ["res", "dense"])
@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (6, 6), (10, 5)])
def test_torch_path_agrees_with_the_paper(channels: int, groups: int, connection: str):
    block, x = make(channels, groups, connection, channels + 1), torch.randn(2, channels, 5, 4, dtype=torch.float64)
    got = igc_block(x, stages(block), groups=groups, means=True, backend="torch")
    expected = exact(block, x)
    assert bool((expected > 0).any())
    torch.testing.assert_close(got.map, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(got.means, expected.mean((2, 3)), rtol=1e-10, atol=1e-12)
    pooled = igc_block(x, stages(block), groups=groups, pool=True, backend="torch")
    torch.testing.assert_close(pooled.map, F.max_pool2d(expected, 2), rtol=1e-10, atol=1e-12)
    assert pooled.means is None


def edges() -> list[tuple[int, int]]:
    """Return heights and widths around a vector, a tile and a band, odd and even, with and without room to pool."""
    n = cases.lanes()
    wide = [(2, 2 * n - 2), (3, 2 * n - 1), (2, 2 * n), (5, 2 * n + 1), (2, 4 * n - 1), (1, 4 * n), (1, 4 * n + 1)]
    return [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (7, 7), (14, 14), (17, 16), (33, 18), (64, 5), *wide]


@native_only
@pytest.mark.parametrize("connection", ["res", "dense"])
@pytest.mark.parametrize(("channels", "groups"), [(18, 18), (18, 1), (36, 6), (14, 2), (35, 7)])
def test_kernel_agrees_with_torch_at_every_edge(channels: int, groups: int, connection: str, isa: str):
    block = make(channels, groups, connection, channels + 5)
    exactly, own = stages(block), stages(block, torch.float32)
    for height, width in edges():
        x = torch.randn(2, channels, height, width)
        even = height % 2 == width % 2 == 0
        for pool in (False, True):
            if pool and min(height, width) < 2:
                continue
            options: dict[str, Any] = {"groups": groups, "pool": pool, "means": even or not pool}
            got = igc_block(x, own, **options, backend="native")
            expected = igc_block(x.double(), exactly, **options, backend="torch")
            assert error(got.map, expected.map) < 2e-6, (height, width, pool)
            if got.means is not None:
                assert error(got.means, expected.means) < 2e-6, (height, width, pool)


@native_only
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype, isa: str):
    """Storage is half, arithmetic is not: the error is that of rounding the output."""
    block = make(18, 6)
    own = stages(block, dtype)
    rounded = [igc.Stage(*(t.double() if isinstance(t, Tensor) else t for t in stage)) for stage in own]
    for pool in (False, True):
        for size in ((6, 34), (30, 30)):
            x, gate, maps = torch.randn(2, 18, *size).to(dtype), torch.rand(2, 18, 1, 1), torch.ones(2, 2, *size)
            options = {"groups": 6, "pool": pool, "residual": True}
            got = igc_block(x, own, gate=gate, maps=maps.to(dtype), **options, backend="native").map
            inputs = {"gate": gate.double(), "maps": maps.double()}
            expected = igc_block(x.double(), rounded, **inputs, **options, backend="torch").map
            assert got.dtype == dtype
            assert error(got, expected) < torch.finfo(dtype).eps


@pytest.mark.parametrize("backend", ["torch", pytest.param("native", marks=native_only)])
@pytest.mark.parametrize("pool", [False, True])
def test_maps_and_gates_are_those_of_the_layers(backend: str, pool: bool):
    block = make(36, 6)
    own = stages(block, torch.float32)
    x, maps = torch.randn(2, 36, 12, 10), (torch.rand(2, 5, 12, 10) > 0.5).float()
    face, gate = torch.randn(2, 3, 12, 10), torch.rand(2, 36, 1, 1)
    inputs = {
        "add": (x, {"maps": maps, "residual": True}, DifferenceGate(36, form="add")(x, maps)),
        "multiply": (x, {"maps": maps}, DifferenceGate(36, form="multiply")(x, maps)),
        "stack": (face, {"maps": maps}, DifferenceGate(3, form="stack")(face, maps).repeat(1, 2, 1, 1)),
        "repeat": (face, {}, face.repeat(1, 12, 1, 1)),
        "gate": (x, {"gate": gate}, x * gate),
        "gate_repeat": (face, {"gate": gate[:, :3]}, (face * gate[:, :3]).repeat(1, 12, 1, 1)),
        "all": (x, {"maps": maps, "residual": True, "gate": gate}, DifferenceGate(36, form="add")(x * gate, maps)),
    }
    for name, (given, options, whole) in inputs.items():
        got = igc_block(given, own, groups=6, pool=pool, **options, backend=backend).map
        expected = block(whole.double()).detach()
        assert error(got, F.max_pool2d(expected, 2) if pool else expected) < 2e-6, name


@native_only
def test_every_output_is_written_and_nothing_else(isa: str):
    block = make(18, 6, outputs=7)
    own = stages(block, torch.float32)
    weights, norms, epsilons = [s.weight for s in own], [t for s in own for t in s[1:6]], [s.epsilon for s in own]
    for height, width in ((2, 2), (6, 34), (14, 14), (18, 70), (35, 33)):
        for pool in (False, True):
            size = (height // 2, width // 2) if pool else (height, width)
            whole = torch.full((2 * 7 * size[0] * size[1] + 64,), torch.nan)
            y, means = whole[32:-32].view(2, 7, *size), torch.full((2 * 7 + 64,), torch.nan)
            x = torch.randn(2, 18, height, width)
            averages = means[32:-32] if height % 2 == 0 else None
            link = launch.Link(weights, norms, epsilons, 6, pool, None, 0.0, None, y, averages)
            launch.igc_blocks(x, [link])
            assert not bool(y.isnan().any())
            assert int(whole.isnan().sum()) == 64
            assert int(means.isnan().sum()) == (64 if averages is not None else 78)


@native_only
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("size", [(8, 6), (40, 38)])
def test_nan_and_infinity_reach_what_they_reach_in_torch(size: tuple[int, int], pool: bool):
    block = make(18, 6).float()
    block.branch.conv2.register_forward_hook(lambda *_: None)  # called as it is, not as a dense convolution
    for value in (torch.nan, torch.inf, -torch.inf):
        x = torch.randn(3, 18, *size)
        x[1, 4, 3, 5] = value
        with torch.no_grad(), ops.backend("torch"):
            expected = block(x)
        got = igc_block(x, stages(block, torch.float32), groups=6, pool=pool, backend="native").map
        expected = F.max_pool2d(expected, 2) if pool else expected
        assert torch.equal(got.isnan(), expected.isnan())
        assert torch.equal(got.isinf(), expected.isinf())
        torch.testing.assert_close(got[::2], expected[::2], rtol=1e-4, atol=1e-5)


@native_only
def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch):
    block = make(18, 6)
    for size in ((64, 64), (14, 14)):
        x, made = torch.randn(3, 18, *size), []
        for threads in (1, 2, 5):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            made.append(igc_block(x, stages(block, torch.float32), groups=6, pool=True, means=True, backend="native"))
        for other in made[1:]:
            assert torch.equal(made[0].map, other.map)
            assert torch.equal(made[0].means, other.means)


@native_only
def test_strides_do_not_matter():
    own, x = stages(make(18, 6), torch.float32), torch.randn(2, 18, 12, 10)
    expected = igc_block(x, own, groups=6, backend="native").map
    for other in (x.contiguous(memory_format=torch.channels_last), torch.randn(2, 20, 12, 12)[:, 1:19, :, 1:11]):
        other.copy_(x)
        assert torch.equal(igc_block(other, own, groups=6, backend="native").map, expected)
    last = [stage._replace(weight=stage.weight.contiguous(memory_format=torch.channels_last)) for stage in own]
    assert torch.equal(igc_block(x, last, groups=6, backend="native").map, expected)
    bare = [stage._replace(bias=None, gain=None, offset=None) for stage in own]
    got = igc_block(x, bare, groups=6, backend="native").map
    torch.testing.assert_close(got, igc_block(x, bare, groups=6, backend="torch").map, rtol=1e-4, atol=1e-5)
    assert igc_block(x[:0], own, groups=6, pool=True, backend="native").map.shape == (0, 18, 6, 5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch own forward formulas
def test_gradients_and_transforms_go_through_torch():
    block, x = make(6, 2), torch.randn(2, 6, 4, 5, dtype=torch.float64)
    call = lambda t: igc_block(t, stages(block), groups=2, pool=True).map  # noqa: E731
    assert torch.autograd.gradcheck(call, x.clone().requires_grad_())
    torch.testing.assert_close(torch.func.vmap(call)(x[None])[0], call(x))
    tangent = torch.randn_like(x)
    whole = lambda t: igc_block(t, stages(block), groups=2).map  # noqa: E731 - torch's pooling warns in forward mode
    _, forward = torch.func.jvp(whole, (x,), (tangent,))
    step = 1e-6
    differences = (whole(x + step * tangent) - whole(x - step * tangent)) / (2 * step)
    torch.testing.assert_close(forward, differences, rtol=1e-4, atol=1e-6)


@native_only
def test_operator():
    block, x = make(18, 6).float(), torch.randn(2, 18, 12, 10)
    own = stages(block, torch.float32)
    weights, norms, epsilons = [s.weight for s in own], [t for s in own for t in s[1:6]], [s.epsilon for s in own]
    arguments = (x, weights, norms, epsilons, 6, True, torch.ones(2, 5, 12, 10), True, torch.rand(2, 18, 1, 1), True)
    torch.library.opcheck(torch.ops.attnzoo.igc_block.default, arguments)

    def call(t: Tensor) -> Tensor:
        return igc_block(t, own, groups=6, pool=True).map

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    tolerance = 0 if cases.export_is_told() else 1e-5  # else the graph is plain torch
    torch.testing.assert_close(compiled(x), call(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(18, 4, 4)}, r"x must have shape \(B, C, H, W\), got \(18, 4, 4\)"),
        ({"x": torch.ones(1, 18, 0, 4)}, r"x must have at least one pixel, got \(1, 18, 0, 4\)"),
        ({"x": torch.ones(1, 18, 1, 4), "pool": True}, r"x must have at least 2x2 pixels, got \(1, 18, 1, 4\)"),
        ({"x": torch.ones(1, 12, 4, 4)}, r"x must have 18 channels, or 18 divided by a whole number, got 12"),
        ({"groups": 4}, r"groups must divide the 18 channels, got 4"),
        ({"groups": 3}, r"stages must begin with weights \(18, 6, 3, 3\) and \(18, 3, 1, 1\), got \(18, 3, 3, 3\)"),
        ({"gate": torch.ones(1, 18)}, r"gate must have shape \(1, 18, 1, 1\), got \(1, 18\)"),
        ({"maps": torch.ones(1, 5, 4, 5)}, r"maps must have shape \(1, n, 4, 4\), got \(1, 5, 4, 5\)"),
        ({"maps": torch.ones(1, 4, 4, 4)}, r"maps must divide 18 channels of 18 into n \+ 1 spans, got n = 4"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str):
    arguments: dict[str, Any] = {"x": torch.ones(1, 18, 4, 4), "groups": 6} | change
    with pytest.raises(ValueError, match=message):
        igc_block(arguments.pop("x"), stages(make(18, 6), torch.float32), **arguments)


def test_bad_stages():
    own, x = stages(make(18, 6), torch.float32), torch.ones(1, 18, 4, 4)
    with pytest.raises(ValueError, match=r"stages must be three, got 2"):
        igc_block(x, own[:2], groups=6)
    short = own[2]._replace(weight=torch.ones(18, 17, 1, 1))
    with pytest.raises(ValueError, match=r"end with a weight \(C', 18 or 36, 1, 1\), got \(18, 17, 1, 1\)"):
        igc_block(x, [*own[:2], short], groups=6)
    block = IGCBlock(18, groups=6)
    block.norm.running_mean = None
    with pytest.raises(ValueError, match="norm must keep running statistics"):
        igc.Stage.of(block.fuse, block.norm)


@native_only
def test_what_the_kernel_cannot_do_raises_when_asked_for():
    own, x = stages(make(18, 6), torch.float32), torch.ones(1, 18, 5, 4)
    with pytest.raises(RuntimeError, match=r"even height and width, got \(5, 4\)"):
        igc_block(x, own, groups=6, pool=True, means=True, backend="native")
    with pytest.raises(RuntimeError, match="the kernel has no gradient"):
        igc_block(x.requires_grad_(), own, groups=6, backend="native")
