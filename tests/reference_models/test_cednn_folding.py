import copy

import pytest
import torch

from reference_models import CEDNN, IGCNet, fold
from reference_models.cednn import VARIANTS
from tests.reference_models.randomise import randomise


@pytest.mark.parametrize("se", [None, "first", "second"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_folded_network_computes_the_same(variant, se):
    network = randomise(CEDNN(variant, se=se, image_size=32, top_width=64, dtype=torch.float64))
    before = copy.deepcopy(network.state_dict())
    folded = fold(network)
    x, maps = torch.rand(2, 3, 32, 32, dtype=torch.float64), (torch.rand(2, 5, 32, 32) > 0.6).double()
    expected = network.eval()(x, maps)
    assert expected.std() > 1e-3
    torch.testing.assert_close(folded(x, maps), expected, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_nothing_is_left_to_normalise_or_to_learn():
    folded = fold(CEDNN(image_size=32, top_width=64))
    assert not [each for each in folded.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert not [name for name, p in folded.named_parameters() if p.requires_grad]
    assert not folded.training


def test_bad_arguments():
    with pytest.raises(TypeError, match="network must be a CEDNN, got IGCNet"):
        fold(IGCNet(groups=2, image_size=32))
    with pytest.raises(ValueError, match="network is folded already"):
        fold(fold(CEDNN(image_size=32, top_width=64)))
