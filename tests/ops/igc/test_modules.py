"""CEDNN's blocks computed from their modules by one kernel: to the bit what the operation computes, and never where the
modules must be called."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from attnzoo import DifferenceGate, IGCBlock, ops
from attnzoo.ops import igc, reading
from tests.layers.cases import randomise
from tests.ops.cases import native_only
from tests.ops.unusual import DTYPES, LOOKED, MAPS, Marked, every_hook

pytestmark = native_only


class Case(NamedTuple):
    """Blocks one after the other, and modules between them."""

    blocks: tuple[IGCBlock, ...]
    pools: tuple[bool, ...]
    guides: tuple[Tensor | None, ...]
    added: tuple[bool, ...]
    between: tuple[nn.Module, ...] = ()

    def from_modules(self, x: Any) -> Tensor | None:
        """Return what the kernel makes of the modules."""
        links = zip(self.blocks, self.pools, self.guides, map(float, self.added), strict=True)
        return IGCBlock.chain(x, tuple(links), between=self.between, kinds=(DifferenceGate, nn.Identity))

    def by_stages(self, x: Tensor) -> Tensor:
        """Return what the operation makes of what the modules hold."""
        links = []
        for block, pool, guide, residual in zip(self.blocks, self.pools, self.guides, self.added, strict=True):
            stages = block.stages()
            assert stages is not None
            links.append(igc.IGCLink(stages, block.branch.groups, pool, guide, residual))
        return igc.igc_chain(x, links, backend="native")


def blocks(*channels: int, connection: Any = "res", groups: int = 3) -> tuple[IGCBlock, ...]:
    """Return blocks in evaluation, each of which doubles the channels."""
    made = (IGCBlock(c, groups=groups, connection=connection, out_channels=2 * c) for c in channels)
    return tuple(randomise(block).eval() for block in made)


def plain(count: int = 2) -> Case:
    """Return a chain without guiding maps, for an ``x`` (B, 3, H, W)."""
    nothing = (None,) * count
    return Case(
        blocks(*(12 * 2**i for i in range(count))), (True,) * count, nothing, (False,) * count, (nn.Identity(),)
    )


@pytest.fixture(autouse=True, params=["C++", "Python"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read modules by either reader."""
    if request.param == "Python":
        monkeypatch.setattr(reading, "_reader", None)
    elif reading._reader is None:
        pytest.skip("the reader in C++ is not there")


def generated(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("connection", ["res", "dense"])
def test_it_is_the_same_to_the_bit(connection: str, dtype: torch.dtype):
    for batch, height, width in ((1, 32, 24), (3, 17, 23), (2, 9, 4)):
        x = generated((batch, 3, height, width), dtype)
        halved = (height // 2, width // 2)
        for first, second in ((5, None), (None, 3), (None, None), (1, 1)):
            guides = tuple(
                None if count is None else (generated((batch, count, *size)) > 0).to(dtype)
                for count, size in ((first, (height, width)), (second, halved), (None, ()))
            )
            case = Case(blocks(18, 36, 72, connection=connection), (True, True, False), guides, (False, True, False))
            for mode in (torch.no_grad(), torch.inference_mode()):
                with mode:
                    y = case.from_modules(x)
                    assert y is not None
                    assert y.dtype == dtype
                    assert y.is_contiguous()
                    assert y.is_inference() == torch.is_inference_mode_enabled()
                    assert torch.equal(y, case.by_stages(x))


def test_one_block_and_many():
    x = generated((2, 3, 8, 8))
    with torch.no_grad():
        for count in (1, 3):
            case = plain(count)
            y = case.from_modules(x)
            assert y is not None
            assert torch.equal(y, case.by_stages(x))
        many = Case(blocks(3, groups=1) + blocks(*[6] * 32, groups=1), (False,) * 33, (None,) * 33, (False,) * 33)
        assert many.from_modules(x) is None
        assert Case((), (), (), ()).from_modules(x) is None


def test_parts_of_maps_and_parameters_as_maps_are_taken():
    case, whole = plain(), generated((6, 3, 8, 12))
    with torch.no_grad():
        for x in (whole[2:4], nn.Parameter(whole[:1]), whole.clone().requires_grad_()):
            y = case.from_modules(x)
            assert y is not None
            assert torch.equal(y, case.by_stages(x.detach()))
            assert not y.requires_grad


@pytest.mark.parametrize("who", ["gradients", *LOOKED])
def test_it_is_not_taken_where_somebody_looks(who: str):
    case, x = plain(), generated((1, 3, 8, 8))
    with torch.no_grad():
        assert case.from_modules(x) is not None
        with LOOKED.get(who, torch.enable_grad)():
            assert case.from_modules(x) is None
        with ops.backend("native"):
            assert case.from_modules(x) is not None


def test_hooks_of_every_kind_on_every_module_are_seen():
    case, x = plain(), generated((1, 3, 8, 8))
    inside = [module for top in (*case.blocks, *case.between) for module in top.modules()]
    assert len(inside) == 2 * 9 + 1
    with torch.no_grad():
        for register in every_hook(inside):
            handle = register()
            assert case.from_modules(x) is None
            handle.remove()
            assert case.from_modules(x) is not None


class OtherBlock(IGCBlock):
    """A block of somebody else's."""


def _put(path: str, value: object) -> Callable[[IGCBlock], object]:
    def change(block: IGCBlock) -> None:
        parent, _, name = path.rpartition(".")
        setattr(block.get_submodule(parent), name, value)

    return change


CHANGED: dict[str, Callable[[IGCBlock], object]] = {
    "it trains": lambda block: block.train(),
    "it says that it trains": _put("training", True),
    "a norm trains": lambda block: block.branch.norm2.train(),
    "a norm has no statistics": _put("norm", nn.BatchNorm2d(24, track_running_stats=False).eval()),
    "another norm": _put("branch.norm1", nn.InstanceNorm2d(12)),
    "a narrower norm": _put("norm", nn.BatchNorm2d(23).eval()),
    "a branch layer": _put("branch_layer", nn.ReLU()),
    "another branch": _put("branch", nn.Identity()),
    "another fusion": _put("fuse", nn.Linear(12, 24)),
    "another group count": _put("branch.groups", 4),
    "no group count": _put("branch.groups", 0),
    "groups that are no number": _put("branch.groups", "three"),
    "a first convolution of one group": _put("branch.conv1", nn.Conv2d(12, 12, 3, padding=1)),
    "a second convolution of one group": _put("branch.conv2", nn.Conv2d(12, 12, 1)),
    "a larger kernel": _put("fuse", nn.Conv2d(12, 24, 3, padding=1)),
    "a fusion of other channels": _put("fuse", nn.Conv2d(13, 24, 1)),
    "half precision": lambda block: block.half(),
    "one weight of another dtype": lambda block: block.branch.conv2.double(),
    "one bias of another dtype": _put("fuse.bias", nn.Parameter(torch.zeros(24).bfloat16())),
    "a bias that is too short": _put("fuse.bias", nn.Parameter(torch.zeros(23))),
    "statistics of another dtype": lambda block: block.norm.running_var.__setattr__("data", torch.ones(24).double()),
    "a weight that is not dense": lambda block: block.fuse.to(memory_format=torch.channels_last).__setattr__(
        "weight", nn.Parameter(torch.randn(12, 24, 1, 1).transpose(0, 1))
    ),
    "a weight elsewhere": lambda block: block.fuse.to("meta"),
    "a parametrised weight": lambda block: parametrizations.weight_norm(block.fuse),
    "pruned": lambda block: prune.identity(block.branch.conv1, "weight"),
    "one module less": lambda block: block.__delattr__("norm"),
    "another class": lambda block: block.__setattr__("__class__", OtherBlock),
}


@pytest.mark.parametrize("what", CHANGED)
def test_it_is_not_taken_if_a_block_is_out_of_the_ordinary(what: str):
    case, x = plain(), generated((1, 3, 8, 8))
    with torch.no_grad():
        assert case.from_modules(x) is not None
        CHANGED[what](case.blocks[0])
        assert case.from_modules(x) is None


def test_norms_without_parameters_and_convolutions_without_biases_are_taken():
    case, x = plain(), generated((1, 3, 8, 8))
    first = case.blocks[0]
    first.norm = nn.BatchNorm2d(24, affine=False).eval()
    first.fuse = nn.Conv2d(12, 24, 1, bias=False)
    with torch.no_grad():
        y = case.from_modules(x)
        assert y is not None
        assert torch.equal(y, case.by_stages(x))


GUIDES: dict[str, Any] = {
    "another dtype": torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16),
    "booleans": torch.zeros(1, 3, 8, 8, dtype=torch.bool),
    "another batch": torch.zeros(2, 3, 8, 8),
    "another height": torch.zeros(1, 3, 7, 8),
    "another width": torch.zeros(1, 3, 8, 9),
    "no maps": torch.zeros(1, 0, 8, 8),
    "a number that divides nothing": torch.zeros(1, 4, 8, 8),
    "three axes": torch.zeros(3, 8, 8),
    "a subclass": torch.zeros(1, 3, 8, 8).as_subclass(Marked),
}


@pytest.mark.parametrize("what", GUIDES)
def test_it_is_not_taken_if_guiding_maps_are_out_of_the_ordinary(what: str):
    x = generated((1, 3, 8, 8))
    with torch.no_grad():
        for guide, taken in ((torch.zeros(1, 3, 8, 8), True), (GUIDES[what], False)):
            case = plain()._replace(guides=(guide, None))
            assert (case.from_modules(x) is not None) is taken


@pytest.mark.parametrize("what", sorted(MAPS.keys() - {"another dtype", "no tensor", "gaps", "transposed"}))
def test_it_is_not_taken_if_the_map_is_out_of_the_ordinary(what: str):
    case, x = plain(), torch.randn(2, 12, 5, 6)
    with torch.no_grad():
        assert case.from_modules(x) is not None
        assert case.from_modules(MAPS[what](x)) is None


def test_maps_that_do_not_fit_are_left_to_the_modules_and_others_copied():
    case, x = plain(), generated((1, 3, 8, 8))
    with torch.no_grad():
        assert case.from_modules(generated((1, 3, 3, 8))) is None  # cannot be halved twice
        assert case.from_modules(generated((1, 5, 8, 8))) is None  # 5 channels, and blocks of 12
        assert case.from_modules(x[0]) is None
        last = case.from_modules(x.to(memory_format=torch.channels_last))
        assert last is not None
        assert torch.equal(last, case.by_stages(x))


def test_modules_between_must_be_of_the_kinds():
    case, x = plain(), generated((1, 3, 8, 8))
    with torch.no_grad():
        assert case._replace(between=(nn.Identity(), DifferenceGate(12, num_maps=3))).from_modules(x) is not None
        assert case._replace(between=(nn.Identity(), nn.ReLU())).from_modules(x) is None


def test_nothing_is_kept_from_call_to_call():
    case, x = plain(), generated((1, 3, 8, 8))
    first, second = case.blocks
    with torch.no_grad():
        before = case.from_modules(x)
        first.fuse.weight.mul_(2)
        first.branch.norm1.running_mean.add_(1)
        second.branch.conv1.weight = nn.Parameter(torch.randn_like(second.branch.conv1.weight))
        second.norm.eps = 0.1
        y = case.from_modules(x)
        assert y is not None
        assert before is not None
        assert not torch.allclose(y, before)
        assert torch.equal(y, case.by_stages(x))


def test_it_holds_on_to_nothing_and_loses_nothing():
    guide = torch.ones(1, 3, 8, 8)
    case, x = plain()._replace(guides=(guide, None)), generated((1, 3, 8, 8))
    held = [x, guide, IGCBlock, *case.between]
    for block in case.blocks:
        held += [*block.parameters(), *block.buffers(), *block.modules(), *(m.__dict__ for m in block.modules())]

    def counts() -> list[int]:
        return [sys.getrefcount(each) for each in held]

    with torch.no_grad():
        for mode in (nullcontext(), ops.backend("torch")):  # where it is taken, and where it gives up
            with mode:
                case.from_modules(x)
                before = counts()
                for _ in range(100):
                    case.from_modules(x)
                after = counts()
            assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


def test_threads_may_replace_weights_meanwhile():
    case, x, stop = plain(), generated((2, 3, 32, 32)), threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for block in case.blocks:
                for conv in (block.branch.conv1, block.branch.conv2, block.fuse):
                    conv.weight = nn.Parameter(conv.weight.detach().clone())

    with torch.no_grad():
        expected = case.by_stages(x)
        other = threading.Thread(target=replace)
        other.start()
        try:
            for _ in range(200):
                y = case.from_modules(x)
                assert y is not None
                assert torch.equal(y, expected)
        finally:
            stop.set()
            other.join()
