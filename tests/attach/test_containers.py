"""What people write about a model goes on working on an attached one, containers included."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.resnet import BasicBlock
from torch import nn

import attnzoo
from tests.attach.cases import images, model_of, set_blends


def test_the_usual_ways_to_reach_a_module() -> None:
    model = model_of("torchvision")
    last, first, length = model.layer4[-1], list(model.layer1), len(model.layer1)
    attnzoo.attach(model, "cbam", "block")
    assert model.layer4[-1] is last
    assert list(model.layer1) == first
    assert len(model.layer1) == length == 2
    assert model.conv1.weight.shape == (64, 3, 7, 7)
    assert model.get_submodule("layer1.1.conv2") is first[1].conv2
    assert type(last).__name__ == "BasicBlock"
    assert isinstance(last, type(first[0]).__mro__[1])
    text = str(model)
    assert "(attnzoo)" in text
    assert "CBAM" in text


def test_isinstance_holds_and_attribute_writes_reach_the_module() -> None:
    model = model_of("resnet")
    block = model.layer1[0]
    attnzoo.attach(model, "se", "stage")
    assert isinstance(block, BasicBlock)
    assert isinstance(block, nn.Module)
    block.stride = 7
    assert vars(block)["stride"] == 7


def test_a_grad_cam_hook_on_the_last_block_sees_the_attended_map() -> None:
    model, x, seen = model_of("resnet"), images(), []
    bare = []
    handle = model.layer4[-1].register_forward_hook(lambda module, args, output: bare.append(output))
    model(x)
    handle.remove()
    set_blends(attnzoo.attach(model, "se", "stage"), 1.0)
    model.layer4[-1].register_forward_hook(lambda module, args, output: seen.append(output))
    model(x)
    assert not torch.equal(seen[0], bare[0])


def container_site(name: str) -> attnzoo.Site:
    return attnzoo.Site(name=name, stage=None, spots=(attnzoo.Spot(layout="NCHW", channels=4, grid=(4, 4)),))


class Twice(nn.Sequential):
    """A Sequential with a forward of its own, that is a site itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(layer(x))
        return x


class Named(nn.ModuleDict):
    """A ModuleDict that runs what it yields, as DenseNet's blocks do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.values():
            x = layer(x)
        return x + sum(layer(x) for _, layer in self.items())


class Children(nn.Module):
    """A stage that runs its children, as RegNet's do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


def convs() -> list[nn.Module]:
    return [nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)]


@pytest.mark.parametrize(
    "inner",
    [lambda: Twice(*convs()), lambda: Named({str(i): m for i, m in enumerate(convs())}), Children],
    ids=["Sequential", "ModuleDict", "children()"],
)
def test_a_container_that_runs_its_children_does_not_run_the_attention_among_them(inner) -> None:
    model, x = nn.Sequential(inner()).eval(), torch.randn(2, 4, 4, 4)
    bare = model(x)
    attachment = attnzoo.attach(model, "se", [container_site("0")])
    assert torch.equal(model(x), bare)
    set_blends(attachment, 1.0)
    layer = model[0].attnzoo["0"].layer
    torch.testing.assert_close(model(x), layer(bare))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(bare))


def test_a_sequential_that_is_a_site_counts_slices_and_changes_as_before() -> None:
    stage = Twice(*convs())
    model = nn.Sequential(stage)
    plain = list(stage)
    attachment = attnzoo.attach(model, "se", [container_site("0")])
    assert len(stage) == 3
    assert list(stage) == plain
    assert stage[-1] is plain[-1]
    assert type(stage[:2]) is Twice
    assert list(stage[:2]) == plain[:2]
    assert len(stage + nn.Sequential(nn.ReLU())) == 4
    with pytest.raises(IndexError):
        stage[3]
    stage.append(nn.ReLU())
    stage[0] = nn.Identity()
    del stage[1]
    assert [type(module).__name__ for module in stage] == ["Identity", "Conv2d", "ReLU"]
    assert "attnzoo" in dict(stage.named_children())
    attachment.detach()
    assert [type(module).__name__ for module in stage] == ["Identity", "Conv2d", "ReLU"]
    assert type(stage) is Twice


def test_a_module_dict_that_is_a_site_keeps_its_keys() -> None:
    stage = Named({"a": nn.Conv2d(4, 4, 1), "b": nn.Conv2d(4, 4, 1)})
    attnzoo.attach(nn.Sequential(stage), "se", [container_site("0")])
    assert list(stage) == list(stage.keys()) == ["a", "b"]
    assert [name for name, _ in stage.items()] == ["a", "b"]
    assert len(stage) == 2
    assert "a" in stage
    assert "attnzoo" not in stage
    stage.update({"c": nn.ReLU()})
    stage.pop("a")
    assert list(stage) == ["b", "c"]


def test_a_plain_sequential_gives_its_site_to_its_last_child() -> None:
    model = model_of("resnet")
    spots = (attnzoo.Spot(layout="NCHW", channels=32, grid=(16, 16)),)
    attachment = attnzoo.attach(model, "se", [attnzoo.Site(name="layer1", stage=1, spots=spots)])
    assert [site.name for site in attachment.sites] == ["layer1.0"]


def test_densenet_whose_blocks_are_module_dicts() -> None:
    model = timm.create_model("densenet121", num_classes=3, growth_rate=4, block_config=(2, 2, 2, 2)).eval()
    x = images()
    bare = model(x)
    attachment = attnzoo.attach(model, "timm/eca", "stage")
    assert torch.equal(model(x), bare)
    set_blends(attachment, 1.0)
    assert not torch.allclose(model(x), bare)
