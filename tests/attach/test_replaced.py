"""A site whose ``forward`` is replaced on the instance, or whose weights are reparametrised, keeps its attention."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import hooks
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, weight_norm
from torchvision.models.feature_extraction import create_feature_extractor

import attnzoo
from tests.attach.cases import set_blends, snapshot


class Conv(nn.Module):
    """As ultralytics' Conv, which is fused by putting another forward on the instance."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()

    def forward_fuse(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()

    def fuse(self) -> None:
        self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.bn)
        del self.bn
        self.forward = self.forward_fuse


X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MAPS = (torch.rand(2, 5, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5).float()
LAYERS = {
    "se": ("se", {}),
    "cbam": ("cbam", {}),
    "llam": ("llam", {"on_mismatch": "project"}),
    "llam inside": ("llam", {"previous": "conv"}),
    "difference_gate": ("difference_gate", {}),
    "timm": ("timm/eca", {}),
}


def bare() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(Conv(3, 12), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)).eval()
    model[0].bn.running_mean.normal_()
    return model


def attach(model: nn.Module, case: str, init: str = "identity") -> attnzoo.Attachment:
    layer, options = LAYERS[case]
    torch.manual_seed(1)
    attachment = attnzoo.attach(model, layer, ["0"], init=init, example_inputs=X, **options)
    set_blends(attachment, 0.7)
    return attachment


def run(model: Callable[..., Tensor], case: str) -> Tensor:
    with torch.no_grad():
        return model(X, **({"attention_maps": MAPS} if case == "difference_gate" else {}))


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def wrapped(site: nn.Module) -> list[str]:
    """What accelerate and diffusers do: the new forward calls the old one; return what it notes."""
    seen, old = [], site.forward

    def new(*args: Any, **kwargs: Any) -> Any:
        seen.append("before")
        output = old(*args, **kwargs)
        seen.append("after")
        return output

    site.forward = functools.update_wrapper(new, old)
    return seen


@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("case", [case for case in LAYERS if case != "llam inside"])  # its convolution is another
def test_fused_after_it_was_attached(case: str, init: str) -> None:
    model = bare()
    without = run(model, "se")
    attachment = attach(model, case, init)
    expected = run(model, case)
    assert not torch.allclose(expected, without, rtol=1e-3)
    model[0].fuse()
    assert_close(run(model, case), expected)
    assert_close(run(copy.deepcopy(model), case), expected)
    assert_close(run(pickle.loads(pickle.dumps(model)), case), expected)  # noqa: S301 - it was just written
    with attachment.enabled(False):
        assert_close(run(model, case), without)


@pytest.mark.parametrize("case", [case for case in LAYERS if case != "llam inside"])
def test_fused_before_it_is_attached(case: str) -> None:
    plain, fused = bare(), bare()
    fused[0].fuse()
    attach(plain, case)
    attach(fused, case)
    assert_close(run(fused, case), run(plain, case))


@pytest.mark.parametrize("case", LAYERS)
def test_a_forward_that_calls_the_old_one_is_attended_to_once(case: str) -> None:
    model = bare()
    attach(model, case)
    expected = run(model, case)
    first = wrapped(model[0])
    second = wrapped(model[0])
    assert_close(run(model, case), expected)
    assert first == second == ["before", "after"]
    del model[0].forward
    assert_close(run(model, case), expected)


def test_one_that_was_replaced_before_and_calls_the_old_one() -> None:
    plain, model = bare(), bare()
    seen = wrapped(model[0])
    attach(plain, "cbam")
    attach(model, "cbam")
    seen.clear()
    assert_close(run(model, "cbam"), run(plain, "cbam"))
    assert seen == ["before", "after"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", ["cbam", "llam", "llam inside", "difference_gate"])
def test_accelerates_hooks(case: str, when: str) -> None:
    class Doubles(hooks.ModelHook):
        def post_forward(self, module: nn.Module, output: Tensor) -> Tensor:
            return output * 2

    plain, model = bare(), bare()
    attach(plain, case)
    for module in (model[3], model[0]) if when == "before" else ():
        hooks.add_hook_to_module(module, Doubles())
    attach(model, case)
    for module in (model[3], model[0]) if when == "after" else ():
        hooks.add_hook_to_module(module, Doubles())
    with torch.no_grad():
        features = plain(X, **({"attention_maps": MAPS} if case == "difference_gate" else {}))
    found = run(model, case)
    assert not torch.allclose(found, features, rtol=1e-3)
    for module in (model[3], model[0]):
        hooks.remove_hook_from_module(module)
    assert_close(run(model, case), features)


def test_a_guided_model_that_is_wrapped_itself() -> None:
    model = bare()
    attach(model, "difference_gate")
    expected = run(model, "difference_gate")
    seen = wrapped(model)
    assert_close(run(model, "difference_gate"), expected)
    assert seen == ["before", "after"]
    with pytest.raises(TypeError, match="call it as model"):
        model(X)


def test_detaching_leaves_what_was_put_there() -> None:
    model, fused = bare(), bare()
    fused[0].fuse()
    attachment = attach(model, "cbam")
    model[0].fuse()
    attachment.detach()
    assert type(model[0]) is Conv
    assert vars(model[0])["forward"] == model[0].forward_fuse
    assert_close(run(model, "cbam"), run(fused, "cbam"))


def test_detaching_from_below_a_wrapper() -> None:
    model = bare()
    expected = run(model, "cbam")
    attachment = attach(model, "cbam")
    seen = wrapped(model[0])
    attachment.detach()
    assert_close(run(model, "cbam"), expected)
    assert seen == ["before", "after"]


def test_a_forward_that_was_put_back_is_taken_off_with_the_attention() -> None:
    model = bare()
    before = snapshot(model)
    attachment = attach(model, "cbam")
    expected = run(model, "cbam")
    model[0].forward = model[0].forward
    assert_close(run(model, "cbam"), expected)
    attachment.detach()
    assert snapshot(model) == before


@pytest.mark.filterwarnings("ignore:`torch.jit.trace(_method)?` is deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("case", ["cbam", "llam", "difference_gate"])
def test_compiled_exported_and_traced(case: str) -> None:
    model = bare()
    attach(model, case)
    model[0].fuse()
    wrapped(model[3])
    expected = run(model, case)
    given = {"attention_maps": MAPS} if case == "difference_gate" else {}
    torch.compiler.reset()
    assert_close(run(torch.compile(model, fullgraph=True, backend="eager"), case), expected)
    assert_close(run(torch.export.export(model, (X,), given).module(), case), expected)
    assert_close(run(torch.jit.trace(model, example_kwarg_inputs={"input": X, **given}), case), expected)
    assert_close(run(torch.fx.symbolic_trace(model), case), expected)
    assert "3" in create_feature_extractor(model, ["3"])(X, **given)


def test_called_by_forward_itself() -> None:
    model = bare()
    attach(model, "cbam")
    expected = model[0].forward(X)
    model[0].fuse()
    assert_close(model[0].forward(X), expected)


def test_hooks_on_the_site_see_the_attended_output() -> None:
    model = bare()
    attach(model, "cbam")
    model[0].fuse()
    seen: list[Tensor] = []
    model[0].register_forward_hook(lambda *call: seen.append(call[-1]))
    run(model, "cbam")
    assert_close(seen[0], model[0](X))


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


REPARAMETRISED: dict[str, Callable[[nn.Module], object]] = {
    "weight_norm": parametrizations.weight_norm,
    "old weight_norm": weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "parametrize": lambda conv: parametrize.register_parametrization(conv, "weight", Same()),
}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("case", ["se", "llam", "difference_gate"])
@pytest.mark.parametrize("how", REPARAMETRISED)
def test_reparametrised_after_it_was_attached(how: str, case: str) -> None:
    torch.manual_seed(0)
    layer, options = LAYERS[case]
    model = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Flatten(), nn.Linear(12 * 256, 3)).eval()
    plain = copy.deepcopy(model)
    REPARAMETRISED[how](plain[0])
    without = run(plain, "se")
    attachment = attnzoo.attach(model, layer, "0", init="paper", example_inputs=X, **options)
    REPARAMETRISED[how](model[0])
    model[0].eval()
    found = run(model, case)
    assert not torch.allclose(found, without, rtol=1e-3)
    with attachment.enabled(False):
        assert_close(run(model, case), without)
    assert_close(run(copy.deepcopy(model), case), found)


@pytest.mark.parametrize("first", ["attached", "parametrised"])
@pytest.mark.parametrize("last", ["detached", "removed"])
def test_attention_and_parametrisation_come_and_go_in_any_order(first: str, last: str) -> None:
    model = bare()
    conv = model[0].conv
    without = run(model, "se")

    def attach_to_conv() -> attnzoo.Attachment:
        torch.manual_seed(1)
        return attnzoo.attach(model, "se", "0.conv", init="paper", example_inputs=X)

    attachment = attach_to_conv()
    expected = run(model, "se")
    if first == "parametrised":
        attachment.detach()
    parametrize.register_parametrization(conv, "weight", Same())
    parametrised = type(conv)
    if first == "parametrised":
        attachment = attach_to_conv()
    twin = copy.deepcopy(model)
    assert_close(run(model, "se"), expected)
    if last == "removed":
        attachment.detach()
        assert_close(run(model, "se"), without)
        assert first == "attached" or type(conv) is parametrised
        parametrize.remove_parametrizations(conv, "weight")
    else:
        parametrize.remove_parametrizations(conv, "weight")
        assert_close(run(model, "se"), expected)
        attachment.detach()
    assert type(conv) is nn.Conv2d
    assert_close(run(model, "se"), without)
    if last == "removed":  # else torch has taken the parametrisation off the class that copies share
        assert_close(run(twin, "se"), expected)
