"""Attention on models that torchao has quantised, before or after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchao.core.config import AOBaseConfig
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

import attnzoo
from tests.attach.cases import images, model_of, set_blends
from tests.ops.halved import HalvedWeight

SCHEMES = [Int8WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("layer", "options"), [("cbam", {}), ("llam", {"on_mismatch": "project"})])
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "mambaout"])
def test_a_quantised_model_takes_attention(
    name: str, layer: str, options: dict[str, str], scheme: Callable[[], AOBaseConfig]
) -> None:
    model, x = model_of(name), images()
    quantize_(model, scheme())
    bare, weights = model(x), list(map(id, model.parameters()))
    attachment = attnzoo.attach(model, layer, "stage", **options)
    assert torch.equal(model(x), bare)
    set_blends(attachment, 0.7)
    assert not torch.allclose(model(x), bare, rtol=1e-3)
    attachment.detach()
    assert torch.equal(model(x), bare)
    assert list(map(id, model.parameters())) == weights


def test_attention_on_a_quantised_model_trains() -> None:
    model, x = model_of("test_vit"), images()
    quantize_(model, Int8WeightOnlyConfig())
    attachment = attnzoo.attach(model, "cbam", "block")
    set_blends(attachment, 0.7)
    model(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for _, parameter in attachment.named_parameters())


class Marked(nn.Parameter):
    """A parameter with a class of its own."""


class WholeNumbers(nn.Linear):
    """The weight is of whole numbers, as bitsandbytes has it, and the module alone knows what they are worth."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False)
        self.weight = Marked((weight * 64).round().to(torch.int8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight.dtype is torch.int8
        return F.linear(x, self.weight.float() / 64)


@pytest.mark.parametrize("kind", [Marked, lambda t: nn.Parameter(HalvedWeight(t.half()), requires_grad=False)])
def test_weights_of_another_class_are_probed_as_they_are(kind: Callable[[Tensor], nn.Parameter]) -> None:
    model, x = model_of("test_vit"), images()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = kind(module.weight.detach())
    bare = model(x)
    attnzoo.attach(model, "cbam", "block")
    assert torch.equal(model(x), bare)


def test_modules_that_keep_whole_numbers_are_probed_as_they_are() -> None:
    model, x = model_of("test_vit"), images()
    for block in model.blocks:
        block.attn.proj = WholeNumbers(block.attn.proj.weight.detach())
    bare = model(x)
    attnzoo.attach(model, "cbam", "block")
    assert torch.equal(model(x), bare)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_attached_model_may_be_quantised(scheme: Callable[[], AOBaseConfig]) -> None:
    model, x = model_of("test_vit"), images()
    set_blends(attnzoo.attach(model, "cbam", "block"), 0.7)
    exact = model(x)
    quantize_(model, scheme())
    assert not torch.equal(model(x), exact)
    torch.testing.assert_close(model(x), exact, rtol=0.1, atol=0.05 * float(exact.detach().abs().max()))
