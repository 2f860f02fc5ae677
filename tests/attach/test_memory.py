"""The attention writes into its site's own memory where nobody else can see it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

import attnzoo
from attnzoo.attach.insert.stack import SlotStack
from tests.attach.cases import set_blends
from tests.ops.cases import native_only

pytestmark = native_only


class Addresses:
    """Where each attached layer found its map, and where it left it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reused: list[bool] = []
        original = attnzoo.CBAM.forward

        def forward(layer: nn.Module, x: Tensor, **options: object) -> Tensor:
            at = x.data_ptr()
            y = original(layer, x, **options)
            self.reused.append(y.data_ptr() == at)
            return y

        monkeypatch.setattr(attnzoo.CBAM, "forward", forward)


@pytest.mark.parametrize("where", ["branch", "block", "stage"])
def test_memory_is_used_again_without_gradients(where: str, monkeypatch: pytest.MonkeyPatch):
    model = timm.create_model("resnet18", zero_init_last=False).eval()
    set_blends(attnzoo.attach(model, "cbam", where), 0.7)
    x = torch.randn(2, 3, 64, 64)
    expected = model(x).detach()
    with torch.no_grad():
        addresses = Addresses(monkeypatch)
        y = model(x)
        assert torch.equal(y, expected)
        assert all(addresses.reused)
        addresses.reused.clear()
        y = model(x)
    assert torch.equal(y, expected)
    model(x)
    assert addresses.reused
    assert not all(addresses.reused[len(addresses.reused) // 2 :])  # with gradients x is needed for the backward pass


class Block(nn.Module):
    """A block that calls its slot in one of several ways."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.se = nn.Identity()
        self.call = call
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def overwritten(block: Block, x: Tensor) -> Tensor:
    x = block.conv(x)
    x = block.se(x)
    return x.relu()


def added(block: Block, x: Tensor) -> Tensor:
    x = block.conv(x)
    y = block.se(x)
    return x + y


def kept(block: Block, x: Tensor) -> Tensor:
    x = block.conv(x)
    block.last = x
    x = block.se(x)
    return x + block.last


def viewed(block: Block, x: Tensor) -> Tensor:
    x = block.conv(x)
    half = x[:, :4]
    x = block.se(x)
    return x[:, :4] + half


def in_a_list(block: Block, x: Tensor) -> Tensor:
    maps = [block.conv(x)]
    maps.append(block.se(maps[0]))
    return maps[0] + maps[1]


def given(block: Block, x: Tensor) -> Tensor:
    x = block.conv(x)
    return x + passed_on(block, x)


def passed_on(block: Block, x: Tensor) -> Tensor:
    return block.se(x)


def as_array(block: Block, x: Tensor) -> Tensor:
    x = block.conv(x)
    array = x.numpy()
    x = block.se(x)
    return x + torch.from_numpy(array)


def twice(block: Block, x: Tensor) -> Tensor:
    x = y = block.conv(x)
    x = block.se(x)
    return x + y


@pytest.mark.parametrize("init", ["identity", "paper"])
@pytest.mark.parametrize("call", [overwritten, added, kept, viewed, in_a_list, given, as_array, twice])
def test_whoever_holds_the_map_sees_it_as_it_was(call: Callable[[nn.Module, Tensor], Tensor], init: str):
    torch.manual_seed(4)
    block, x = Block(call).eval(), torch.randn(2, 3, 9, 9)
    slot = SlotStack()
    site = attnzoo.Site(name="se", stage=None, spots=(attnzoo.Spot(layout="NCHW", channels=8, grid=(9, 9)),))
    host = nn.Sequential()
    host.se = nn.Identity()
    set_blends(attnzoo.attach(host, "cbam", [site], init=init), 0.7)
    slot.add_module("0", host.se.attnzoo["0"])
    block.se = slot
    with torch.no_grad():
        block.se = Copying(slot)
        expected = block(x)
        block.se = slot
        assert torch.equal(block(x), expected)


class Copying(nn.Module):
    """A slot that gives its attention a copy."""

    def __init__(self, slot: nn.Module) -> None:
        super().__init__()
        self.slot = slot

    def forward(self, x: Tensor) -> Tensor:
        return self.slot(x.clone())


def test_a_site_that_returns_what_others_hold_is_left_alone():
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("map", torch.randn(2, 4, 6, 6))

        def forward(self, _: Tensor) -> Tensor:
            return self.map

    for module in (nn.Identity(), Same(), Cached()):
        model = nn.Sequential(module)
        attnzoo.attach(model, "cbam", "0", init="paper", example_inputs=torch.randn(2, 4, 6, 6))
        x = torch.randn(2, 4, 6, 6)
        before = x.clone()
        with torch.no_grad():
            first, second = model.eval()(x), model(x)
        assert torch.equal(first, second)
        assert torch.equal(x, before)
