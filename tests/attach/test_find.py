"""Sites are where they are said to be, proven alive, and the model is left as it was."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from timm import create_model
from torch import Tensor, fx, nn
from torchvision.models import get_model

from attnzoo.attach.find.search import find_sites
from attnzoo.attach.sites import Site, Spot


def names(sites: tuple[Site, ...]) -> list[str]:
    return [site.name for site in sites]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return create_model("test_resnet")


class Toy(nn.Module):
    """Two blocks and a head, with whatever the blocks return taken apart by ``between``."""

    def __init__(self, *blocks: nn.Module, between=lambda x: x, pool=lambda x: x.mean((2, 3)), width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, stride=8)
        self.blocks = nn.ModuleList(blocks)
        self.between, self.pool = between, pool
        self.fc = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.between(block(x))
        return self.fc(self.pool(x))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + self.conv(x), x * 2


class ClassToken(nn.Module):
    """Tokens behind one class token, mixed so that all see all."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = x.flatten(2).transpose(1, 2)
            x = torch.cat([x.mean(1, keepdim=True), x], 1)
        return x + self.proj(x) + x.mean(1, keepdim=True)


class TestWhere:
    def test_stage(self, resnet: nn.Module) -> None:
        sites = find_sites(resnet, "stage")
        assert names(sites) == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
        assert [site.stage for site in sites] == [1, 2, 3, 4]
        assert [site.spots[0].channels for site in sites] == [32, 48, 192, 96]

    def test_stages_narrow(self, resnet: nn.Module) -> None:
        assert names(find_sites(resnet, "block", stages=(3, 4))) == ["layer3.0", "layer4.0"]

    def test_isotropic_models_are_cut_into_quarters(self) -> None:
        sites = find_sites(create_model("deit_tiny_patch16_224", img_size=32, embed_dim=24, num_heads=2), "stage")
        assert names(sites) == ["blocks.2", "blocks.5", "blocks.8", "blocks.10"]  # the last: only its class token lives
        assert {site.spots[0].prefix_tokens for site in sites} == {1}

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ("layer1.0.conv1", ["layer1.0.conv1"]),
            ("layer4", ["layer4.0"]),  # a container is the same tensor as its last child, which is always called
            ("layer?.0.bn2", [f"layer{i}.0.bn2" for i in (1, 2, 3, 4)]),
            ("layer[34].*", ["layer3.0", "layer4.0"]),
            ("layer[2-4]", ["layer2.0", "layer3.0", "layer4.0"]),
            ("layer[!2-4]", ["layer1.0"]),
            ("layer2.**", ["layer2.0"]),  # the outermost of those that match
            (re.compile(r"layer\d\.0\.conv1"), [f"layer{i}.0.conv1" for i in (1, 2, 3, 4)]),
            (r"re:layer[12]\.0\.bn1", ["layer1.0.bn1", "layer2.0.bn1"]),
            (["layer4.0", "layer1.0"], ["layer1.0", "layer4.0"]),
            (lambda name, module: isinstance(module, nn.MaxPool2d), ["maxpool"]),
        ],
    )
    def test_names_and_patterns(self, resnet: nn.Module, where: object, expected: list[str]) -> None:
        assert names(find_sites(resnet, where)) == expected

    def test_blocks_without_a_residual_are_cut_after_activations(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(1))
        assert names(find_sites(model, "block")) == ["1", "3"]


class TestBranch:
    def test_native_slot(self, resnet: nn.Module) -> None:
        site = find_sites(resnet, "branch")[2]
        assert (site.name, site.slot, site.spots[0].channels) == ("layer3.0", "layer3.0.se", 192)
        assert resnet.get_submodule("layer3.0").se is None

    def test_slot_in_the_middle_of_an_inverted_residual(self) -> None:
        model = create_model("test_efficientnet")
        sites = {site.name: site for site in find_sites(model, "branch")}
        assert sites["blocks.1.0"].slot == "blocks.1.0.se"
        assert sites["blocks.3.0.se"].slot is None  # taken: after the gate that is there
        assert sites["blocks.1.0"].spots[0].channels == model.blocks[1][0].conv_exp.out_channels

    def test_last_module_before_the_addition(self) -> None:
        sites = find_sites(get_model("resnet18", weights=None), "branch", stages=(4,))
        assert names(sites) == ["layer4.0.bn2", "layer4.1.bn2"]  # and not downsample, nor the ReLU that works in place

    def test_both_branches_of_a_transformer_block(self) -> None:
        sites = find_sites(create_model("test_vit"), "branch", stages=(1,))
        assert names(sites) == ["blocks.0.attn", "blocks.0.mlp"]

    def test_no_addition_is_refused(self) -> None:
        with pytest.raises(ValueError, match="adds nothing to a shortcut"):
            find_sites(get_model("vgg11", weights=None), "branch")


class TestLayout:
    @pytest.mark.parametrize(
        ("model", "layout"),
        [("test_mambaout", "NHWC"), ("test_convnext", "NCHW"), ("test_vit", "NLC")],
    )
    def test_family(self, model: str, layout: str) -> None:
        assert {spot.layout for site in find_sites(create_model(model), "stage") for spot in site.spots} == {layout}

    def test_channels_first_tokens(self) -> None:
        model = Toy(nn.Conv1d(4, 4, 1), between=lambda x: x, pool=lambda x: x.mean(2))
        model.stem = nn.Sequential(model.stem, nn.Flatten(2))
        assert find_sites(model, "blocks.0")[0].spots == (Spot(layout="NCL", channels=4, grid=(12, 12)),)

    def test_as_many_channels_as_rows_and_columns(self) -> None:
        """At 96 pixels and stride 8 this map is 12 x 12 x 12: the second aspect ratio says which axis is which."""
        model = Toy(nn.Conv2d(12, 12, 1), width=12)
        assert find_sites(model, "blocks.0")[0].spots == (Spot(layout="NCHW", channels=12, grid=(12, 12)),)

    def test_example_inputs_fix_the_size(self, resnet: nn.Module) -> None:
        spot = find_sites(resnet, "layer1.0", example_inputs=(torch.zeros(1, 3, 64, 128),))[0].spots[0]
        assert spot.grid == (16, 32)

    def test_windows_are_refused(self) -> None:
        class Windows(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

        model = Toy(Windows(), between=lambda x: x.mean(0, keepdim=True))
        with pytest.raises(ValueError, match="does not start with the batch of 2"):
            find_sites(model, "blocks.0")

    def test_tokens_that_are_no_grid_are_refused(self) -> None:
        with pytest.raises(ValueError, match="Hiera keeps its tokens in the order of its mask units"):
            find_sites(create_model("hiera_tiny_224", img_size=64, embed_dim=16, num_heads=1), "blocks.3")


class TestLiveness:
    def test_a_dead_element_of_a_tuple_is_left_out(self) -> None:
        sites = find_sites(Toy(Pair(), Pair(), between=lambda pair: pair[0]), ["blocks.0", "blocks.1"])
        assert [[spot.path for spot in site.spots] for site in sites] == [[(0,)], [(0,)]]

    def test_a_living_element_is_kept(self) -> None:
        sites = find_sites(Toy(Pair(), between=sum), "blocks.0")
        assert [spot.path for spot in sites[0].spots] == [(0,), (1,)]

    def test_patch_tokens_that_only_feed_a_class_token_are_refused(self) -> None:
        model = Toy(ClassToken(), ClassToken(), pool=lambda x: x[:, 0])
        assert find_sites(model, "blocks.0")[0].spots[0].prefix_tokens == 1
        with pytest.raises(ValueError, match=r"'blocks.1' cannot be a site.*does not depend on it"):
            find_sites(model, "blocks.1")

    def test_weights_of_zero_hide_nothing(self) -> None:
        model = create_model("test_resnet")
        nn.init.zeros_(model.get_classifier().weight)
        with torch.no_grad():
            for block in (model.layer3[0], model.layer4[0]):
                block.bn2.weight.zero_()
        assert names(find_sites(model, ["layer1.0.conv1", "layer4.0.bn1"])) == ["layer1.0.conv1", "layer4.0.bn1"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("layer1.0.conv9", r"no such module; the closest names are layer1\.0\.conv"),
            ("layers*", "the glob matches no name .* goes deeper"),
            ("re:layer", "regular expression, which must match the whole name"),
            (lambda name, module: False, "function was true for no module"),
            (["layer1.0", "layer1.0.conv1"], r"\['layer1.0.conv1'\] lie inside other named modules"),
            ("fc", "no grid of pixels or tokens"),
            ([], "empty sequence"),
        ],
    )
    def test_no_match_says_why(self, resnet: nn.Module, where: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            find_sites(resnet, where)

    @pytest.mark.parametrize("stages", [(9,), (1, 7)])
    def test_stages_that_do_not_exist(self, resnet: nn.Module, stages: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"has sites in stages \[1, 2, 3, 4\]"):
            find_sites(resnet, "stage", stages=stages)

    @pytest.mark.parametrize("stages", [(0,), ("3",), (True,), "34"])
    def test_stages_that_are_no_numbers(self, resnet: nn.Module, stages: object) -> None:
        with pytest.raises(ValueError, match="stages must be numbers from 1"):
            find_sites(resnet, "stage", stages=stages)

    def test_wrong_types(self, resnet: nn.Module) -> None:
        with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
            find_sites("resnet18", "stage")
        with pytest.raises(TypeError, match="where must be a name"):
            find_sites(resnet, 3)
        with pytest.raises(TypeError, match="where must hold names and patterns, got 3"):
            find_sites(resnet, [3])

    def test_shared_activation(self) -> None:
        with pytest.raises(ValueError, match=r"'layer1.0.relu' cannot be a site: it is called 2 times"):
            find_sites(get_model("resnet18", weights=None), "layer1.0.relu")

    def test_graph_module(self, resnet: nn.Module) -> None:
        traced = fx.symbolic_trace(get_model("resnet18", weights=None))
        with pytest.raises(ValueError, match="never called; it is a GraphModule"):
            find_sites(traced, "layer1")

    @pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # what a ScriptModule is made with
    def test_script_module(self) -> None:
        with pytest.raises(TypeError, match="ScriptModule"):
            find_sites(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1))), "0")

    def test_a_model_that_takes_no_image(self) -> None:
        with pytest.raises(ValueError, match=r"ran on no probe image .* pass example_inputs"):
            find_sites(nn.Sequential(nn.Linear(7, 3)), "0")

    def test_meta_device(self) -> None:
        with pytest.raises(ValueError, match="on the meta device"):
            find_sites(nn.Sequential(nn.Conv2d(3, 4, 1, device="meta")), "0")

    def test_example_inputs_that_do_not_fit(self, resnet: nn.Module) -> None:
        with pytest.raises(ValueError, match="does not run on example_inputs"):
            find_sites(resnet, "stage", example_inputs=(torch.zeros(1, 5, 64, 64),))


def test_the_model_is_left_as_it_was(resnet: nn.Module) -> None:
    model = copy.deepcopy(resnet).train()
    model.layer2.eval()
    model.layer3[0].conv1.weight.requires_grad_(False)
    seen: list[int] = []
    handle = model.layer1.register_forward_hook(lambda *_: seen.append(1))
    flags = {name: module.training for name, module in model.named_modules()}
    wanting = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    for where in ("stage", "block", "branch"):
        find_sites(model, where)
    assert not seen
    assert list(model.layer1._forward_hooks) == [handle.id]
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()) == 1
    assert {name: module.training for name, module in model.named_modules()} == flags
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == wanting
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
