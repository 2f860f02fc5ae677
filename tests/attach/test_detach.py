"""Detaching gives the bare model back; what is attached together comes off in any order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attnzoo
from tests.attach.cases import MODELS, images, model_of, set_blends, snapshot


@pytest.mark.parametrize("where", ["stage", "block"])
@pytest.mark.parametrize("name", MODELS)
def test_detach_gives_back_the_very_same_model(name: str, where: str) -> None:
    model, x = model_of(name), images()
    before, bare = snapshot(model), model(x)
    attachment = attnzoo.attach(model, "cbam", where)
    assert snapshot(model) != before
    set_blends(attachment, 1.0)
    attachment.freeze_backbone()
    attachment.detach()
    assert snapshot(model) == before
    assert torch.equal(model(x), bare)
    assert repr(attachment).startswith("detached")
    with pytest.raises(RuntimeError, match="detached already"):
        attachment.detach()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_three_attachments_compose_in_order_and_come_off_in_any(order: tuple[int, ...]) -> None:
    model, x = model_of("resnet"), images()
    before = snapshot(model)
    layers = ["se", "cbam", "timm/eca"]
    attachments = [attnzoo.attach(model, layer, "stage") for layer in layers]
    for attachment in attachments:
        set_blends(attachment, 1.0)
    for gone in order[:-1]:
        attachments[gone].detach()
    assert not torch.equal(model(x), model_of("resnet")(x))
    attachments[order[-1]].detach()
    assert snapshot(model) == before


def test_the_second_attention_sees_what_the_first_returns() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    x = torch.randn(2, 3, 8, 8)

    class Scale(nn.Module):
        def __init__(self, channels: int, *, by: float, plus: float) -> None:
            super().__init__()
            self.by, self.plus = by, plus

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.by + self.plus

    bare = model(x)
    first = attnzoo.attach(model, Scale, "0", init="paper", by=2.0, plus=0.0)
    attnzoo.attach(model, Scale, "0", init="paper", by=1.0, plus=3.0)
    torch.testing.assert_close(model(x), bare * 2 + 3)
    first.detach()
    torch.testing.assert_close(model(x), bare + 3)
    attnzoo.attach(model, Scale, "0", init="paper", by=2.0, plus=0.0)
    torch.testing.assert_close(model(x), (bare + 3) * 2)


def test_a_site_that_was_replaced_is_not_detached_silently() -> None:
    model = model_of("resnet")
    attachment = attnzoo.attach(model, "se", "stage")
    model.layer2[0] = nn.Identity()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=r"layer2\.0.*another module"):
        attachment.detach()
    assert snapshot(model) == before
