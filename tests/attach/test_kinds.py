"""Paired, guided and pyramid layers, and tokens."""

from __future__ import annotations

import weakref

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import attnzoo
from attnzoo.attach.layout import from_map, scaled_grid, to_map
from tests.attach.cases import images, model_of, set_blends


def test_a_paired_layer_takes_the_blocks_input() -> None:
    model, x = model_of("torchvision"), images()
    attachment = attnzoo.attach(model, "llam", "layer1.1", init="paper")
    seen = []
    model.layer1[1].register_forward_hook(lambda module, args, output: seen.append((args[0].clone(), output)))
    model(x)
    before, after = seen[0]
    layer = model.layer1[1].attnzoo["0"].layer
    with attachment.enabled(False):
        model(x)
    torch.testing.assert_close(after, layer(before, seen[1][1]))


def test_a_paired_layer_takes_the_first_convolution_by_name_or_by_rule() -> None:
    model, x = model_of("torchvision"), images()
    attachment = attnzoo.attach(model, "llam", "layer1.1", init="paper", previous="first_conv")
    seen, convs = [], []
    model.layer1[1].conv1.register_forward_hook(lambda module, args, output: convs.append(output.clone()))
    model.layer1[1].register_forward_hook(lambda module, args, output: seen.append(output))
    attended = model(x)
    with attachment.enabled(False):
        model(x)
    torch.testing.assert_close(seen[0], model.layer1[1].attnzoo["0"].layer(convs[0], seen[1]))
    state = attachment.state_dict()
    attachment.detach()
    again = attnzoo.attach(model, "llam", "layer1.1", init="paper", previous="conv1")
    again.load_state_dict(state)
    assert torch.equal(model(x), attended)


def test_where_the_shapes_differ_the_site_is_skipped_or_projected() -> None:
    model, x = model_of("torchvision"), images()
    bare = model(x)
    skipping = attnzoo.attach(model, "llam", "block")
    assert [site.name for site in skipping.sites] == ["layer1.0", "layer1.1"]
    assert list(skipping.plan.skipped) == ["layer2.0", "layer3.0", "layer4.0"]
    assert "skipped: F_pre has shape" in str(skipping)
    skipping.detach()
    projecting = attnzoo.attach(model, "llam", "block", on_mismatch="project")
    assert len(projecting.sites) == 5
    assert {name for name, _ in projecting.named_parameters() if "project" in name} == {
        f"layer{i}.0.attnzoo.0.project.weight" for i in (2, 3, 4)
    }
    assert torch.equal(model(x), bare)
    optimiser = torch.optim.SGD(projecting.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(x).square().sum().backward()
        optimiser.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in projecting.parameters())
    assert not torch.equal(model(x), bare)


@pytest.mark.parametrize("previous", ["first_conv", "input"])
def test_the_previous_map_does_not_outlive_the_forward_pass(previous: str) -> None:
    model = model_of("torchvision")
    attnzoo.attach(model, "llam", "block", previous=previous, on_mismatch="project")
    alive: list[weakref.ref[torch.Tensor]] = []
    for module in model.modules():
        if isinstance(module, attnzoo.LLAM):
            module.conv.register_forward_pre_hook(lambda _, args: alive.append(weakref.ref(args[0])))
    blocks = [module for module in model.modules() if type(module).__name__ == "BasicBlock"]
    for block in blocks:
        block.register_forward_pre_hook(lambda _, args: alive.append(weakref.ref(args[0])))
        block.conv1.register_forward_hook(lambda *call: alive.append(weakref.ref(call[-1])))
    with torch.no_grad():
        model(images())
    assert len(alive) >= 2 * len(blocks) == 10
    assert all(each() is None for each in alive)


class Guided(nn.Module):
    """A model whose stages are 8 and 4 pixels wide."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 2, stride=2)
        self.second = nn.Conv2d(6, 6, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def test_a_guided_layer_gets_the_models_maps_in_its_own_size() -> None:
    model, x = Guided(), torch.randn(2, 3, 16, 16)
    maps = (torch.rand(2, 2, 16, 16) > 0.8).float()
    bare = model(x)
    attachment = attnzoo.attach(
        model, "difference_gate", ["first", "second"], example_inputs=x, num_maps=2, form="multiply"
    )
    assert torch.equal(model(x, attention_maps=maps), bare)
    set_blends(attachment, 1.0)

    def modulated(y: torch.Tensor) -> torch.Tensor:
        small = F.max_pool2d(maps, maps.shape[-1] // y.shape[-1])
        return torch.cat([y[:, :2], y[:, 2:4] * small[:, :1], y[:, 4:] * small[:, 1:]], dim=1)

    first = modulated(F.conv2d(x, model.first.weight, model.first.bias, stride=2))
    second = modulated(F.conv2d(first, model.second.weight, model.second.bias, stride=2))
    torch.testing.assert_close(model(x, attention_maps=maps), second)
    with pytest.raises(TypeError, match=r"call it as model\(x, attention_maps=maps\)"):
        model(x)
    with pytest.raises(ValueError, match=r"attention_maps must have shape"):
        model(x, attention_maps=maps[0])
    with attachment.enabled(False):
        assert torch.equal(model(x), bare)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, attention_maps=maps), second)
    attnzoo.attach(model, "se", "second", example_inputs=x)  # a probe needs no maps
    assert torch.equal(model(x, attention_maps=maps), second)
    assert type(model).__name__ == "Guided"
    attachment.detach()
    assert torch.equal(model(x), bare)


@pytest.mark.parametrize("size", [4, 32])
def test_maps_are_repeated_where_the_site_is_larger(size: int) -> None:
    model, x = Guided(), torch.randn(2, 3, 16, 16)
    attachment = attnzoo.attach(model, "difference_gate", "first", example_inputs=x, num_maps=2)
    set_blends(attachment, 1.0)
    maps = torch.ones(2, 2, size, size)
    with attachment.enabled(False):
        bare = model.first(x)
    assert not torch.equal(
        model(x, attention_maps=maps), F.conv2d(bare, model.second.weight, model.second.bias, stride=2)
    )


@pytest.mark.parametrize("features_only", [False, True])
def test_a_pyramid_head_on_timm(features_only: bool) -> None:
    options = {"features_only": True, "out_indices": (1, 2, 3, 4)} if features_only else {}
    backbone = timm.create_model("test_resnet", zero_init_last=False, **options)
    model = attnzoo.with_pyramid_head(backbone, "dba", num_classes=7, rd_ratio=0.5)
    assert model.attention.channels == (32, 48, 192, 96)
    scores = model(images())
    assert scores.shape == (2, 7)
    scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_pyramid_head_on_torchvision_by_node_names() -> None:
    backbone = model_of("torchvision")
    model = attnzoo.with_pyramid_head(backbone, "dba", num_classes=3, features=["layer2", "layer4"], rd_ratio=0.25)
    x = images()
    assert not model.training
    captured = []
    backbone.layer2.register_forward_hook(lambda module, args, output: captured.append(output))
    backbone.layer4.register_forward_hook(lambda module, args, output: captured.append(output))
    backbone(x)
    expected = model.classifier(model.attention(captured))
    torch.testing.assert_close(model(x), expected)
    vectors = attnzoo.with_pyramid_head(backbone, "dba", num_classes=0, features=["layer2", "layer4"])
    assert vectors(x).shape == (2, 128 + 512)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"layer": "se", "num_classes": 3, "features": ["layer2"]}, TypeError, "unary layer"),
        ({"num_classes": 3}, TypeError, "features must name the graph nodes"),
        ({"num_classes": 3, "features": [1, 2]}, TypeError, "names of graph nodes"),
        ({"num_classes": -1, "features": ["layer2"]}, ValueError, "num_classes"),
        ({"num_classes": 3, "features": ["layer2", "fc"]}, ValueError, r"must be a map \(B, C, H, W\)"),
        ({"num_classes": 3, "features": ["layer2"], "output": "maps"}, ValueError, "must return a vector"),
    ],
)
def test_a_pyramid_head_says_what_is_wrong(arguments: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        attnzoo.with_pyramid_head(model_of("torchvision"), **arguments)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NLC", "NCL"])
@pytest.mark.parametrize("prefix", [0, 3])
def test_a_layout_is_read_pixel_by_pixel_and_written_back(layout: str, prefix: int) -> None:
    picture = torch.arange(2 * 5 * 3 * 4).reshape(2, 5, 3, 4).float()
    prefix = prefix if layout == "NLC" else 0
    tensors = {
        "NCHW": picture,
        "NHWC": picture.permute(0, 2, 3, 1).contiguous(),
        "NLC": torch.cat([torch.full((2, prefix, 5), -1.0), picture.flatten(2).transpose(1, 2)], dim=1),
        "NCL": picture.flatten(2),
    }
    spot = attnzoo.Spot(layout=layout, channels=5, grid=(3, 4), prefix_tokens=prefix)  # type: ignore[arg-type]
    x = tensors[layout]
    read = to_map(x, spot)
    assert torch.equal(read, picture)
    assert read.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert torch.equal(from_map(read, x, spot), x)
    changed = from_map(read * 2, x, spot)
    assert torch.equal(to_map(changed, spot), picture * 2)
    if prefix:
        assert torch.equal(changed[:, :prefix], x[:, :prefix])


def test_grids_scale_with_their_aspect_or_say_that_they_cannot() -> None:
    assert scaled_grid((14, 14), 256) == (16, 16)
    assert scaled_grid((7, 14), 392) == (14, 28)
    with pytest.raises(ValueError, match=r"200 tokens make no grid of the aspect 14:14"):
        scaled_grid((14, 14), 200)
    spot = attnzoo.Spot(layout="NLC", channels=5, grid=(3, 4))
    with pytest.raises(ValueError, match="layout NLC was expected"):
        to_map(torch.zeros(2, 5, 3, 4), spot)


def test_a_class_token_is_left_alone_and_other_image_sizes_work() -> None:
    model = timm.create_model("test_vit", num_classes=5, img_size=64, dynamic_img_size=True).eval()
    attachment = attnzoo.attach(model, "cbam", "blocks.2", init="paper")
    seen = []
    model.blocks[2].register_forward_hook(lambda module, args, output: seen.append(output))
    for size in (64, 96):
        x = torch.randn(2, 3, size, size)
        model(x)
        with attachment.enabled(False):
            model(x)
        attended, bare = seen[-2:]
        prefix = model.num_prefix_tokens
        assert torch.equal(attended[:, :prefix], bare[:, :prefix])
        assert not torch.equal(attended[:, prefix:], bare[:, prefix:])
        side = size // 16
        picture = bare[:, prefix:].transpose(1, 2).reshape(2, -1, side, side)
        expected = model.blocks[2].attnzoo["0"].layer(picture).flatten(2).transpose(1, 2)
        torch.testing.assert_close(attended[:, prefix:], expected)


def test_a_tensor_inside_a_tuple_or_a_dict_is_attended_to_and_the_rest_kept() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return x, {"a": self.conv(x), "b": x}

    model, x = nn.Sequential(Two()), torch.randn(2, 3, 8, 8)
    spot = attnzoo.Spot(path=(1, "a"), layout="NCHW", channels=4, grid=(8, 8))
    attachment = attnzoo.attach(model, "se", [attnzoo.Site(name="0", stage=None, spots=(spot,))], init="paper")
    first, rest = model(x)
    assert first is x
    assert rest["b"] is x
    torch.testing.assert_close(rest["a"], model[0].attnzoo["0_1_a"].layer(model[0].conv(x)))
    assert next(iter(attachment.state_dict())).startswith("0[1][a]:")


@pytest.mark.parametrize("kind", ["attribute", "identity", "absent"])
def test_a_native_slot_is_filled_and_given_back(kind: str) -> None:
    model, x = model_of("resnet"), images()
    block = model.layer4[0]
    if kind == "identity":
        block.se = nn.Identity()
    native, children, attributes = block.se, list(block._modules), sorted(vars(block))
    bare = model(x)
    spot = attnzoo.Spot(layout="NCHW", channels=96, grid=(2, 2))
    slot = "layer4.0.drop_block" if kind == "absent" else "layer4.0.se"
    site = attnzoo.Site(name="layer4.0", stage=4, spots=(spot,), slot=slot)
    first = attnzoo.attach(model, "se", [site])
    second = attnzoo.attach(model, "timm/eca", [site])
    assert torch.equal(model(x), bare)
    model.load_state_dict(model_of("resnet").state_dict(), strict=True)
    assert next(first.named_parameters())[0] == f"{slot}.0.blend"
    set_blends(second, 1.0)
    first.detach()
    second.detach()
    assert block.se is native
    assert list(block._modules) == children
    assert sorted(vars(block)) == attributes


def test_a_slot_that_is_taken_is_refused() -> None:
    model = timm.create_model("test_resnet", block_args={"attn_layer": attnzoo.SqueezeExcite})
    spot = attnzoo.Spot(layout="NCHW", channels=96, grid=(2, 2))
    with pytest.raises(ValueError, match="already has an attention, SqueezeExcite"):
        attnzoo.attach(model, "se", [attnzoo.Site(name="layer4.0", stage=4, spots=(spot,), slot="layer4.0.se")])
