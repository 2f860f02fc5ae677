"""Models that are called with anything: what finds their sites runs them as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import attnzoo

IMAGE = torch.rand(2, 3, 32, 32)


class Pair(NamedTuple):
    image: Tensor
    scale: float


@dataclass
class Output:
    features: Tensor
    size: int


class Net(nn.Module):
    """A convolution whose image is taken out of the arguments by ``pick``, and whose map is put into ``wrap``."""

    def __init__(self, pick: Any, wrap: Any = lambda y: y) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.pick, self.wrap = pick, wrap

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.wrap(self.body(self.pick(*args, **kwargs)))


INPUTS: dict[str, tuple[Any, Any]] = {
    "a tensor": (lambda x: x, IMAGE),
    "a dict": (lambda batch: batch["image"], ({"image": IMAGE},)),
    "keywords": (lambda *, pixel_values: pixel_values, {"pixel_values": IMAGE}),
    "both": (lambda x, *, flip: x.flip(-1) if flip else x, ((IMAGE,), {"flip": True})),
    "nested": (lambda batch: batch["views"][0].image, ({"views": [Pair(IMAGE, 2.0)]},)),
    "numbers first": (lambda index, image: image, (torch.arange(2), IMAGE)),
}


@pytest.mark.parametrize("way", INPUTS)
def test_the_image_is_found_among_the_arguments(way: str):
    pick, example = INPUTS[way]
    model = Net(pick).eval()
    args, kwargs = ((), example) if way == "keywords" else (example if way == "both" else (example, {}))
    args = args if isinstance(args, tuple) else (args,)
    before = model(*args, **kwargs)
    attachment = attnzoo.attach(model, "cbam", "body", example_inputs=example)
    (row,) = attachment.plan.rows
    assert (row.layout, row.channels) == ("NCHW", 8)
    torch.testing.assert_close(model(*args, **kwargs), before, rtol=0, atol=0)
    with torch.no_grad():
        for blend in (value for name, value in attachment.named_parameters() if name.endswith("blend")):
            blend.fill_(1.0)
    assert not torch.equal(model(*args, **kwargs), before)


def test_arguments_without_a_tensor_are_refused():
    with pytest.raises(ValueError, match="hold no tensor with a batch"):
        attnzoo.plan(Net(lambda name: IMAGE).eval(), "se", "body", example_inputs=("name",))


class Inside(nn.Module):
    """Returns its map in a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Output:
        return Output(self.conv(x), x.shape[-1])


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inside = nn.Conv2d(3, 8, 3), Inside()

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(self.stem(x)).features.mean((2, 3))


def test_a_map_in_a_dataclass_is_a_site():
    model = Outer().eval()
    before = model(IMAGE)
    attachment = attnzoo.attach(model, "se", "inside", example_inputs=IMAGE)
    assert attachment.plan.rows[0].channels == 8
    torch.testing.assert_close(model(IMAGE), before, rtol=0, atol=0)
    assert isinstance(model.inside(model.stem(IMAGE)), Output)


class Collects(nn.Module):
    """As transformers: what the model returns was collected by a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.kept = nn.Conv2d(3, 8, 3), []
        self.conv.register_forward_hook(Collects.keep)
        self.conv.owner = [self.kept]

    @staticmethod
    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        module.owner[0].append(output)

    def forward(self, x: Tensor) -> Tensor:
        self.kept.clear()
        self.conv(x)
        return self.kept[0].mean((2, 3))


def test_a_model_that_needs_its_hooks_keeps_them():
    model = Collects().eval()
    assert attnzoo.plan(model, "se", "conv", example_inputs=IMAGE).rows[0].channels == 8
    assert model(IMAGE).shape == (2, 8)
    assert len(model.kept) == 1


class Faint(nn.Module):
    """Blocks whose gradients are too small for float32 once many are multiplied."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1, bias=False) for _ in range(4))
        self.gain, self.head = gain, nn.Conv2d(3, 4, 1)
        for block in self.blocks:
            nn.init.constant_(block.weight, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for block in self.blocks:
            x = block(x) * self.gain
        return x


def test_sites_do_not_come_and_go_with_the_size_of_weights():
    names = [f"blocks.{index}" for index in range(4)]
    strong, faint = (attnzoo.plan(Faint(gain).eval(), "se", names, example_inputs=IMAGE) for gain in (1.0, 1e-14))
    assert [row.site for row in faint.rows] == [row.site for row in strong.rows] == names


class Addition(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class ChainBlock(nn.Module):
    """A convolution and residual blocks one after the other, whose outputs are joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.parts = nn.ModuleList(Addition(channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.before(x)]
        for part in self.parts:
            maps.append(part(maps[-1]))
        return torch.cat(maps, 1)


def test_a_branch_is_never_the_shortcut_nor_around_another():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), ChainBlock(8), nn.Conv2d(32, 4, 3)).eval()
    sites = [row.site for row in attnzoo.plan(model, "se", "branch").rows]
    assert sites == [f"1.parts.{index}.second" for index in range(3)]


class Maps(nn.Module):
    """A backbone whose forward returns maps, in the container that ``wrap`` makes."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.a, self.b, self.wrap = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), wrap

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        return self.wrap(x, a, self.b(a))


CONTAINERS: dict[str, Any] = {
    "list": lambda x, a, b: [a, b],
    "tuple": lambda x, a, b: (a, b),
    "dict": lambda x, a, b: {"0": a, "1": b},
    "dataclass": lambda x, a, b: Output((a, b), 2),
    "encoder": lambda x, a, b: [x, x.new_empty(len(x), 0, 16, 16), a, b],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_pyramid_head_stands_on_whatever_returns_maps(container: str):
    backbone = Maps(CONTAINERS[container])
    model = attnzoo.with_pyramid_head(backbone, "dba", num_classes=3).eval()
    assert model(IMAGE).shape == (2, 3)
    a = backbone.a(IMAGE)
    torch.testing.assert_close(model(IMAGE), model.classifier(model.attention([a, backbone.b(a)])))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [(lambda x, a, b: b, "does not return several maps"), (lambda x, a, b: [a, b.mean((2, 3))], "must be a map")],
)
def test_what_is_no_pyramid_is_refused(wrap: Any, message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        attnzoo.with_pyramid_head(Maps(wrap), "dba", num_classes=3)


LENGTHS = (60, 64, 100, 256)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("layer", ["se", "cbam"])
def test_channels_of_a_sequence_are_channels_at_any_length(length: int, layer: str):
    net = nn.Sequential(nn.Conv1d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv1d(16, 16, 3), nn.ReLU()).eval()
    example, other = torch.rand(2, 3, length), torch.rand(2, 3, 72)
    before = net(other)
    attachment = attnzoo.attach(net, layer, ["0", "2"], example_inputs=example)
    assert [(row.layout, row.channels) for row in attachment.plan.rows] == [("NCL", 16)] * 2
    torch.testing.assert_close(net(other), before, rtol=0, atol=0)


class Encoder(nn.Module):
    """Tokens of a sequence, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Conv1d(3, 16, 4, 4), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.embed(x).transpose(1, 2)).mean(1)


def test_tokens_of_a_sequence_are_channels_last():
    (row,) = attnzoo.plan(Encoder().eval(), "se", "mix", example_inputs=torch.rand(2, 3, 64)).rows
    assert (row.layout, row.channels) == ("NLC", 16)


class Fixed(nn.Module):
    """Takes one length only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, 16, 3), nn.Linear(62, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x))


def test_a_sequence_that_cannot_be_seen_is_refused_with_the_next_step():
    with pytest.raises(ValueError, match="pass example_inputs of a length that the model takes doubled"):
        attnzoo.plan(Fixed().eval(), "se", "conv", example_inputs=torch.rand(2, 3, 64))


class Resizes(nn.Module):
    """Resizes its images to one length of the longer side, as detectors do, and pads to a multiple of 8."""

    def __init__(self, longer: int) -> None:
        super().__init__()
        self.longer, self.body = longer, nn.Conv2d(3, 24, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.longer / max(x.shape[-2:])
        size = [8 * round(side * scale / 8) for side in x.shape[-2:]]
        return self.body(nn.functional.interpolate(x, size))


@pytest.mark.parametrize("longer", [48, 64, 96])
def test_a_model_that_resizes_its_images_has_maps_of_channels_first(longer: int):
    (row,) = attnzoo.plan(Resizes(longer).eval(), "se", "body").rows
    assert (row.layout, row.channels) == ("NCHW", 24)
