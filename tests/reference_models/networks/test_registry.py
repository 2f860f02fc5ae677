import pytest

import reference_models


def test_lists_what_it_makes():
    assert reference_models.list_models() == ["cednn", "dba_net", "igc_net", "lla_net", "tra_net"]
    network = reference_models.create("lla_net", num_classes=3, device="meta")
    assert type(network) is reference_models.LLANet
    assert network.fc.out_features == 3


def test_unknown_names_raise_with_the_closest():
    with pytest.raises(ValueError, match="no network named 'tranet'; did you mean tra_net"):
        reference_models.create("tranet")


def test_misspelt_arguments_raise():
    with pytest.raises(TypeError, match="num_classes_"):
        reference_models.create("lla_net", num_classes_=3)


@pytest.mark.parametrize("name", ["lla-net", "lla_net"])
def test_names_may_be_written_with_either_dash(name: str):
    assert reference_models.model_class(name) is reference_models.LLANet
