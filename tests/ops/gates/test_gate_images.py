"""Whole images at once are the operations one after the other, and stand aside wherever somebody looks."""

from __future__ import annotations

import copy
import ctypes
import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnzoo import CBAM, SqueezeExcite, ops
from attnzoo.kernels.cpu import library
from attnzoo.kernels.cpu.gates import launch_gates as launch
from attnzoo.layers import squeeze_excite
from attnzoo.ops import reading
from attnzoo.ops.gates import gate_images
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import native_only
from tests.ops.test_kernels import Guarded

pytestmark = native_only

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "se": SqueezeExcite,
    "se_plain": lambda c, **k: SqueezeExcite(c, bias=False, residual=True, **k),
    "cbam": CBAM,
    "cbam_plain": lambda c, **k: CBAM(c, bias=False, norm_layer=None, residual=True, kernel_size=3, **k),
    "cbam_channel": lambda c, **k: CBAM(c, spatial=False, **k),
    "cbam_spatial": lambda c, **k: CBAM(c, channel=False, **k),
}
ROUNDING = {torch.float32: 2**-22, torch.bfloat16: 2**-8, torch.float16: 2**-11}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often whole images are gated."""
    seen: list[str] = []
    call, launched = gate_images.call, launch.gate_images

    def called(*arguments: Any) -> Any:
        found = call(*arguments)
        seen.extend(["call"] * isinstance(found, Tensor))
        return found

    def counted(*arguments: Any) -> bool:
        done = launched(*arguments)
        seen.extend(["launched"] * done)
        return done

    monkeypatch.setattr(gate_images, "call", called)
    monkeypatch.setattr(launch, "gate_images", counted)
    return seen


def step(layer: nn.Module, x: Tensor, backend: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return output, gradients and statistics of one step of a copy of the layer."""
    layer, leaf = copy.deepcopy(layer).to(dtype), x.detach().to(dtype).requires_grad_()
    with ops.backend(backend):
        y = layer(leaf)
    y.backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).to(x.dtype).to(dtype))
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    return {"y": y.detach(), "x": leaf.grad, **gradients, **dict(layer.named_buffers())}


def allowed(eager: Tensor, exact: Tensor, dtype: torch.dtype) -> float:
    return 2 * float((eager.double() - exact.double()).norm()) + 2 * ROUNDING[dtype] * float(exact.double().norm())


SHAPES = ((1, 21, 9, 11), (3, 64, 7, 7), (6, 5, 1, 1), (2, 17, 31, 33))


@pytest.fixture(params=library.instruction_sets() if cases.HAS_NATIVE else [])
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute by the kernels of one instruction set."""
    kernels = library.Kernels(request.param)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    monkeypatch.setattr(gate_images, "_kernel", lambda: ctypes.cast(kernels.gate_images, ctypes.c_void_p).value)
    return request.param


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_error_is_at_most_twice_that_of_eager_torch(name: str, dtype: torch.dtype, isa: str, calls: list[str]):
    for last in (False, True):
        for shape in SHAPES:
            layer = randomise(LAYERS[name](shape[1], rd_channels=max(2, shape[1] // 4))).to(dtype).eval()
            x = cases.inputs(shape, dtype, last)[0]
            with torch.no_grad():
                before = len(calls)
                native = layer(x)
                assert len(calls) == before + 1
                with ops.backend("torch"):
                    eager, exact = layer(x), layer.double()(x.double())
            assert native.stride() == x.stride()
            assert float((native.double() - exact).norm()) <= allowed(eager, exact, dtype), shape


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_so_is_that_of_every_gradient(name: str, dtype: torch.dtype, training: bool, isa: str, calls: list[str]):
    shares = []  # the error of a few numbers is luck: that of all weights is judged together, over all shapes
    for last in (False, True):
        for shape in SHAPES:
            layer = randomise(LAYERS[name](shape[1], rd_channels=max(2, shape[1] // 4))).to(dtype).train(training)
            x = cases.inputs(shape, dtype, last)[0]
            before = len(calls)
            native = step(layer, x, "native", dtype)
            assert len(calls) == before + 1
            eager, exact = step(layer, x, "torch", dtype), step(layer, x, "torch", torch.float64)
            assert native["x"].stride() == x.stride()
            found = {key: float((native[key].double() - value).norm()) for key, value in exact.items()}
            most = {key: allowed(eager[key], value, dtype) for key, value in exact.items()}
            for key in exact:
                assert native[key].dtype == eager[key].dtype
                assert found[key] <= (1 if key in {"y", "x"} else 16) * most[key] + 1e-6 * (key not in {"y", "x"}), key
            weights = exact.keys() - {"y", "x"}
            shares.append(
                math.hypot(*(found[key] for key in weights)) / (math.hypot(*(most[key] for key in weights)) + 1e-7)
            )
    assert statistics.fmean(share**2 for share in shares) <= 1


@pytest.mark.parametrize("name", LAYERS)
def test_nan_and_infinity_stay_in_their_image(name: str, calls: list[str]):
    layer = randomise(LAYERS[name](12)).eval()
    for value in (torch.nan, torch.inf, -torch.inf):
        x = torch.randn(3, 12, 5, 6)
        x[1, 4, 2, 3] = value
        native, eager = (step(layer, x, backend, torch.float32) for backend in ("native", "torch"))
        for key in ("y", "x"):
            assert torch.equal(native[key].isnan(), eager[key].isnan())
            torch.testing.assert_close(native[key][::2], eager[key][::2], rtol=1e-5, atol=1e-6)
    assert calls


@pytest.mark.parametrize("name", LAYERS)
def test_infinity_is_counted_once_where_the_last_step_overlaps(name: str, calls: list[str]):
    for channels in (6, 12, 20):  # with 4, 8 and 16 lanes
        layer = randomise(LAYERS[name](channels)).eval()
        for at in range(channels):
            x = torch.randn(3, channels, 5, 6)
            x[1, at, 2, 3] = torch.inf
            native, eager = (step(layer, x, backend, torch.float32)["y"] for backend in ("native", "torch"))
            assert torch.equal(native.isnan(), eager.isnan())
    assert calls


@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives_and_those_of_some(name: str, calls: list[str]):
    """A gradient that is differentiated is computed again by torch; of what is frozen there is none."""
    results = []
    for backend, dtype in (("native", torch.float32), ("torch", torch.float64)):
        torch.manual_seed(4)
        layer, x = randomise(LAYERS[name](6)).to(dtype), torch.randn(2, 6, 3, 5).to(dtype).requires_grad_()
        next(layer.parameters()).requires_grad_(False)
        wanted = [x, *(p for p in layer.parameters() if p.requires_grad)]
        with ops.backend(backend):
            y = layer(x)
        first = torch.autograd.grad(y.sin().sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), wanted, retain_graph=True)
        results.append([t.detach().double() for t in (*first, *second)])
        y.sin().sum().backward()
        assert next(layer.parameters()).grad is None
    for a, b in zip(*results, strict=True):
        assert float((a - b).norm()) <= 1e-4 * float(b.norm()) + 1e-5
    assert calls


def test_the_norm_follows_the_batch_as_torch_does():
    for options in ({"momentum": 0.3}, {"momentum": None}, {"track_running_stats": False}, {"affine": False}):
        norm = partial(nn.BatchNorm2d, **options)
        layers = [randomise(CBAM(6, norm_layer=norm)) for _ in range(2)]
        layers[1].load_state_dict(layers[0].state_dict())
        for turn in range(4):
            x = torch.randn(3, 6, 4, 5)
            for layer, backend in zip(layers, ("native", "torch"), strict=True):
                layer.train(turn < 3)
                with ops.backend(backend):
                    layer.y = layer(x)
            torch.testing.assert_close(layers[0].y, layers[1].y)
            torch.testing.assert_close(layers[0].state_dict(), layers[1].state_dict())


def test_the_number_of_threads_changes_no_bit():
    layer, x = randomise(CBAM(40)), torch.randn(5, 40, 31, 37)
    once = step(layer, x, "native", torch.float32)
    torch.set_num_threads(2)
    try:
        many = [step(layer, x, "native", torch.float32) for _ in range(3)]
    finally:
        torch.set_num_threads(1)
    for again in many:
        assert all(torch.equal(again[key], value) for key, value in once.items())


def test_whoever_looks_sees_the_modules(calls: list[str]):
    layer, x, seen = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6), []
    with ops.backend("torch"):
        expected = layer(x)
    for watch in (nn.Module.register_forward_pre_hook, nn.Module.register_full_backward_hook):
        handle = watch(layer.channel.fc1, lambda *_: seen.append("fc1"))
        layer(x.requires_grad_()).sum().backward()
        handle.remove()
    assert seen == ["fc1"] * 4  # once for averages, once for maxima
    seen.clear()
    assert not calls
    with torch.no_grad():
        handle = layer.spatial.register_forward_hook(lambda *_: seen.append("spatial"))
        torch.testing.assert_close(layer(x), expected)
        assert seen == ["spatial"]
        assert not calls
        handle.remove()
        torch.testing.assert_close(layer(x), expected)
        assert len(calls) == 1
        with ops.backend("torch"):
            layer.eval()(x)
        CBAM(12, act_layer=nn.GELU).eval()(x)
        CBAM(12, norm_layer=nn.InstanceNorm2d).eval()(x)
        CBAM(12, kernel_size=9).eval()(x)
        SqueezeExcite(12, gate_layer=nn.Hardsigmoid).eval()(x)
        CBAM(12, dtype=torch.float64).eval()(x.double())
        assert len(calls) == 1


def test_forward_mode_goes_another_way(calls: list[str]):
    layer, x, v = randomise(SqueezeExcite(12)), torch.randn(2, 12, 4, 5), torch.randn(2, 12, 4, 5)
    with torch.no_grad():
        y = torch.func.vmap(layer)(torch.stack([x, v]))
    assert not calls
    torch.testing.assert_close(y[0], layer(x))


@pytest.mark.parametrize("name", LAYERS)
def test_a_blend_counts_as_in_torch(name: str, calls: list[str]):
    """With gradients and without, in what is computed and in what is learned."""
    layer, x = randomise(LAYERS[name](21)).eval(), torch.randn(3, 21, 9, 11, requires_grad=True)
    blend = torch.tensor([0.3], requires_grad=True)
    leaves = [x, blend, *layer.parameters()]
    with ops.backend("torch"):
        expected = layer(x, blend=blend)
    y = layer(x, blend=blend)
    with torch.no_grad():
        assert torch.equal(layer(x, blend=blend), y)
        assert torch.equal(layer(x, blend=torch.zeros(1)), x)
    assert len(calls) == 3
    torch.testing.assert_close(y, expected)
    found, exact = (torch.autograd.grad(value.square().mean(), leaves) for value in (y, expected))
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blended", [False, True])
@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("name", ["se", "cbam", "cbam_channel", "cbam_spatial", "cbam_plain"])
def test_outputs_are_written_whole_and_nothing_beside(name: str, statistics: bool, blended: bool):
    """In training by the batch's statistics or by running ones, and in inference."""
    layer, x = randomise(LAYERS[name](21)), torch.randn(2, 21, 7, 9)
    norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train(not statistics)
    gating = layer._gating_of_modules() if isinstance(layer, CBAM) else squeeze_excite._GATINGS[False]
    record, held = reading.read(((layer, gating.table),), (x, torch.ones(1) if blended else None))
    out, hidden = Guarded(), gate_images._hidden(gating, held)
    state = out(len(launch.gate_state(x, hidden, maxima=gating.maxima, spatial=gating.spatial)))
    assert launch.gate_images(record, len(held), gating.options, out(like=x), state, True)
    if statistics or not norms:
        assert launch.gate_images(record, len(held), gating.options, out(like=x), None, False)
    if not gating.maxima or not gating.channel or not norms or statistics:
        out.made.pop(0)  # the state keeps places for more than is asked
    numbers, weights = record[104 * len(held) :], [t if t is None or t.requires_grad else None for t in held[2:]]
    gradients = [None if t is None else out(like=t) for t in (x, held[1], *weights)]
    record, held = reading.read((), (*held, torch.randn_like(x), *gradients))
    launch.gate_images_backward(record + numbers, len(held), gating.options, state)
    out.check()
