"""Attention on models that torchao has quantised, before or after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torchao.core.config import AOBaseConfig
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

import attnzoo
from tests.attach.cases import images, model_of, set_blends

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


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_attached_model_may_be_quantised(scheme: Callable[[], AOBaseConfig]) -> None:
    model, x = model_of("test_vit"), images()
    set_blends(attnzoo.attach(model, "cbam", "block"), 0.7)
    exact = model(x)
    quantize_(model, scheme())
    assert not torch.equal(model(x), exact)
    torch.testing.assert_close(model(x), exact, rtol=0.1, atol=0.05 * float(exact.detach().abs().max()))
