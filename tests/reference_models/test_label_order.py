"""Weights with the order of their outputs: another order is refused, and nothing is loaded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reference_models.data import Labels
from reference_models.label_order import load_labelled, read_labels, save_labelled
from reference_models.weights import save_weights

ORDER = Labels.of_units((1, 2, 12))


@pytest.fixture
def path(tmp_path):
    network = nn.Linear(2, 3)
    nn.init.constant_(network.weight, 5)
    save_labelled(network, tmp_path / "model.safetensors", ORDER)
    return tmp_path / "model.safetensors"


def test_weights_come_with_their_order(path):
    network = nn.Linear(2, 3)
    assert read_labels(path) == ORDER
    load_labelled(network, path, ORDER)
    assert (network.weight == 5).all()


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (
            Labels.of_units((2, 1, 12)),
            "its outputs in another order: action units AU1, AU2, AU12; expected are .*AU2, AU1",
        ),
        (Labels.of_units((1, 2, 4)), "other outputs: action units AU1, AU2, AU12"),
        (Labels.of_expressions(("anger", "fear", "neutral")), "other outputs"),
    ],
)
def test_another_order_is_refused_and_nothing_changes(path, expected, message):
    network = nn.Linear(2, 3)
    before = network.weight.clone()
    with pytest.raises(ValueError, match=message):
        load_labelled(network, path, expected)
    assert torch.equal(network.weight, before)


def test_files_without_labels(tmp_path):
    save_weights(nn.Linear(2, 3), tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="does not say what its outputs stand for"):
        read_labels(tmp_path / "bare.safetensors")
    for text in ("{}", "3", '{"task": "action units", "names": "AU1"}', '{"task": "x", "names": ["AU1"]}', "{"):
        save_weights(nn.Linear(2, 3), tmp_path / "bad.safetensors", {"labels": text})
        with pytest.raises(ValueError, match="has damaged labels"):
            read_labels(tmp_path / "bad.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="is no valid safetensors file"):
        read_labels(tmp_path / "junk.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        read_labels(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("task", "names", "message"),
    [
        ("emotions", ("anger",), "task must be 'action units' or 'expressions', got 'emotions'"),
        ("action units", (), "at least one name and none twice"),
        ("action units", ("AU1", "AU1"), "none twice"),
        ("action units", ("1",), r"names of action units must be AU and a number, got \['1'\]"),
        ("expressions", ("joy",), r"names of expressions must be anger, .*, got \['joy'\]"),
    ],
)
def test_labels_that_are_none(task, names, message):
    with pytest.raises(ValueError, match=message):
        Labels(task, names)
