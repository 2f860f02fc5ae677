import pytest
import torch
from torch.nn import functional as F

from reference_models import CEDNN, IGCNet
from reference_models.networks.cednn import VARIANTS
from tests.oracles.cednn import cednn as oracle
from tests.reference_models.randomise import randomise

SIZE = 32


def inputs(maps: bool):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, SIZE, SIZE, dtype=torch.float64, generator=generator)
    binary = (torch.rand(2, 5, SIZE, SIZE, dtype=torch.float64, generator=generator) > 0.7).double()
    return (x, binary) if maps else (x,)


@pytest.mark.parametrize(
    ("variant", "se", "attention_blocks", "form"),
    [
        ("res-L18M1", None, 0, "add"),
        ("res-L3M6", "first", 3, "add"),
        ("dense-L2M9", "second", 2, "multiply"),
        ("dense-L6M3", None, 4, "add"),
        ("res-L1M18", "second", 1, "add"),
    ],
)
def test_agrees_with_the_oracle(variant, se, attention_blocks, form):
    network = CEDNN(
        variant, se=se, attention_blocks=attention_blocks, map_form=form, image_size=SIZE, dtype=torch.float64
    )
    randomise(network).eval()
    x = inputs(maps=attention_blocks > 0)
    expected = oracle(
        network.state_dict(),
        x[0],
        x[1] if attention_blocks else None,
        groups=int(variant.split("-L")[1].split("M")[0]),
        connection=variant.split("-")[0],
        se=se,
        attention_blocks=attention_blocks,
        form=form,
    )
    assert expected.std() > 1e-3
    torch.testing.assert_close(network(*x), expected, rtol=1e-9, atol=1e-9)


def test_maps_reach_as_many_blocks_as_asked():
    """With all maps zero and the form "multiply", a block that takes maps sees zeros in five of its six groups."""
    seen = {}
    for blocks in (1, 2, 3, 4):
        network = CEDNN(attention_blocks=blocks, map_form="multiply", image_size=SIZE).eval()
        zeroed = []
        for block in network.blocks:
            block.register_forward_pre_hook(
                lambda module, args, zeroed=zeroed: zeroed.append(not args[0][:, args[0].shape[1] // 6 :].any().item())
            )
        network(torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 5, SIZE, SIZE))
        seen[blocks] = sum(zeroed)
    assert seen == {1: 1, 2: 2, 3: 3, 4: 4}


def test_maps_stay_binary_when_pooled():
    maps = inputs(maps=True)[1]
    while maps.shape[-1] > 1:
        maps = F.max_pool2d(maps, 2)
        assert set(maps.unique().tolist()) <= {0.0, 1.0}


def test_there_are_twelve_variants_and_all_run():
    assert len(VARIANTS) == 12
    for variant in VARIANTS:
        network = CEDNN(variant, num_aus=13, attention_blocks=0, image_size=SIZE, top_width=32).eval()
        assert network(torch.rand(1, 3, SIZE, SIZE)).shape == (1, 13)


def test_every_parameter_learns():
    network = CEDNN("dense-L2M9", se="first", attention_blocks=3, image_size=64, top_width=64)
    maps = (torch.rand(4, 5, 64, 64) > 0.5).float()
    network(torch.rand(4, 3, 64, 64), maps).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    unmoved = [name for name, p in network.named_parameters() if not p.grad.any()]
    # a norm takes away whatever is added in front of it: natively the gradient is 0, by torch it is rounding
    assert [name for name in unmoved if not name.endswith(("conv1.bias", "conv2.bias", "fuse.bias"))] == []


def test_wider_network():
    network = CEDNN("res-L18M1", width=36, attention_blocks=2, image_size=SIZE, top_width=32).eval()
    assert network(torch.rand(1, 3, SIZE, SIZE), torch.ones(1, 5, SIZE, SIZE)).shape == (1, 12)


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"variant": "res-L4M4"}, ValueError, r"variant must be one of 'res-L1M18'.*got 'res-L4M4'"),
        ({"se": "third"}, ValueError, r"se must be one of None, 'first', 'second', got 'third'"),
        ({"se_rd_ratio": 0.0, "se": "first"}, ValueError, r"rd_ratio must be in \(0, 1\], got 0.0"),
        ({"attention_blocks": 7}, ValueError, "attention_blocks must be one of 0, 1, 2, 3, 4, 5, 6, got 7"),
        ({"map_form": "stack"}, ValueError, "map_form must be one of 'add', 'multiply', got 'stack'"),
        ({"image_size": 100}, ValueError, "image_size must be a multiple of 32, got 100"),
        ({"width": 20}, ValueError, "width must be a multiple of 18, got 20"),
        ({"num_aus": 0}, ValueError, "num_aus must be at least 1, got 0"),
        ({"num_aus": 12.0}, TypeError, "num_aus must be an int, got 12.0"),
        ({"attention_block": 3}, TypeError, "attention_block"),
    ],
)
def test_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        CEDNN(**kwargs)


@pytest.mark.parametrize(
    ("blocks", "shapes", "match"),
    [
        (0, [(1, 3, 32, 32), (1, 5, 32, 32)], "maps must be left out: .*attention_blocks=0"),
        (3, [(1, 3, 32, 32)], "maps must be given: .*attention_blocks=3"),
        (0, [(1, 3, 64, 64)], r"x must have shape \(B, 3, 32, 32\), got \(1, 3, 64, 64\)"),
        (0, [(1, 18, 32, 32)], r"x must have shape \(B, 3, H, W\), got \(1, 18, 32, 32\)"),
        (3, [(1, 3, 32, 32), (1, 4, 32, 32)], r"maps must have shape \(B, 5, H, W\), got \(1, 4, 32, 32\)"),
        (3, [(1, 3, 32, 32), (1, 5, 16, 16)], r"maps must have shape \(1, 5, 32, 32\).*got \(1, 5, 16, 16\)"),
    ],
)
def test_bad_inputs(blocks, shapes, match):
    network = CEDNN(attention_blocks=blocks, image_size=SIZE, top_width=32)
    with pytest.raises(ValueError, match=match):
        network(*(torch.ones(shape) for shape in shapes))


def test_igc_baseline_halves_and_widens_by_stage():
    network = IGCNet(groups=4, image_size=64).eval()
    shapes = []
    for stage in network.stages:
        stage.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape[1:])))
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 12)
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"image_size": 30}, ValueError, "image_size must be a multiple of 32, got 30"),
        ({"groups": 0}, ValueError, "groups must be at least 1, got 0"),
        ({"secondary": True}, TypeError, "secondary must be an int, got True"),
    ],
)
def test_igc_bad_arguments(kwargs, error, match):
    with pytest.raises(error, match=match):
        IGCNet(**kwargs)
