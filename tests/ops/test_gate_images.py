"""Inference by whole images is the operations one after the other, and stands aside wherever somebody looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attnzoo import CBAM, SqueezeExcite, ops
from attnzoo.kernels.cpu import launch, library
from tests.layers.cases import randomise
from tests.ops import cases
from tests.ops.cases import native_only

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
    original = launch.gate_images

    def counted(*arguments: object) -> None:
        seen.append("gate_images")
        original(*arguments)

    monkeypatch.setattr(launch, "gate_images", counted)
    return seen


@pytest.mark.parametrize("isa", library.instruction_sets() if cases.HAS_NATIVE else [])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_error_is_at_most_twice_that_of_eager_torch(
    name: str, dtype: torch.dtype, isa: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
):
    kernels = library.Kernels(isa)
    monkeypatch.setattr(launch, "kernels", lambda: kernels)
    for last in (False, True):
        for shape in ((1, 21, 9, 11), (3, 64, 7, 7), (2, 5, 1, 1), (2, 17, 31, 33)):
            layer = randomise(LAYERS[name](shape[1], rd_channels=max(2, shape[1] // 4))).to(dtype).eval()
            x = cases.inputs(shape, dtype, last)[0]
            with torch.no_grad():
                before = len(calls)
                native = layer(x)
                assert len(calls) == before + 1
                with ops.backend("torch"):
                    eager, exact = layer(x), layer.double()(x.double())
            assert native.stride() == x.stride()
            error, other = (float((y.double() - exact).norm()) for y in (native, eager))
            assert error <= 2 * (other + ROUNDING[dtype] * float(exact.norm())), (shape, error, other)


@pytest.mark.parametrize("name", LAYERS)
def test_nan_and_infinity_stay_in_their_image(name: str, calls: list[str]):
    layer = randomise(LAYERS[name](12)).eval()
    for value in (torch.nan, torch.inf, -torch.inf):
        x = torch.randn(3, 12, 5, 6)
        x[1, 4, 2, 3] = value
        with torch.no_grad():
            native = layer(x)
            with ops.backend("torch"):
                eager = layer(x)
        assert torch.equal(native.isnan(), eager.isnan())
        torch.testing.assert_close(native[::2], eager[::2], rtol=1e-5, atol=1e-6)
    assert calls


def test_whoever_looks_sees_the_modules(calls: list[str]):
    layer, x, seen = randomise(CBAM(12)).eval(), torch.randn(2, 12, 5, 6), []
    expected = layer(x)
    assert not calls, "a gradient was wanted"
    with torch.no_grad():
        handle = layer.spatial.register_forward_hook(lambda *_: seen.append("spatial"))
        torch.testing.assert_close(layer(x), expected)
        assert seen == ["spatial"]
        assert not calls
        handle.remove()
        torch.testing.assert_close(layer(x), expected)
        assert len(calls) == 1
        layer.train()(x)
        assert len(calls) == 1, "in training the norm uses the batch's own statistics"
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


def test_outputs_are_written_whole_and_nothing_beside(calls: list[str]):
    layer = randomise(CBAM(21)).eval()
    weight: Tensor = layer.spatial.conv.weight.detach()
    x = torch.randn(2, 21, 7, 9)
    whole = torch.full((x.numel() + 64,), torch.nan)
    launch.gate_images(x, None, launch.Convolution(weight, 1.0, 0.0), 0.0, whole[32:-32].view(x.shape))
    assert int(whole.isnan().sum()) == 64
    assert bool(whole[:32].isnan().all() and whole[-32:].isnan().all())
    assert calls
