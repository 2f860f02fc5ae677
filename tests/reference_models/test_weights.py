import pickle

import pytest
import safetensors
import torch
from torch import nn

from reference_models.weights import load_weights, read_weights, save_weights


@pytest.fixture
def module():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_round_trip_keeps_every_bit_and_the_metadata(module, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(module, path, {"network": "tiny"})
    for name, value in read_weights(path).items():
        assert torch.equal(value, module.state_dict()[name]), name
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"network": "tiny"}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_failed_save_leaves_the_last_file(module, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(module, path)
    good = path.read_bytes()
    with pytest.raises(TypeError):
        save_weights(module, path, {"network": 3})
    assert path.read_bytes() == good
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("wrap", [False, True])
def test_reads_pth_files_of_tensors(module, tmp_path, wrap):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": module.state_dict()} if wrap else module.state_dict(), path)
    assert read_weights(path).keys() == module.state_dict().keys()


class Malicious:
    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("w.safetensors", b"not a header", "no valid safetensors file"),
        ("w.safetensors", (10**12).to_bytes(8, "little") + b"{}", "no valid safetensors file"),
        ("w.pth", b"\x00\x01", "no plain tensors or is damaged"),
        ("w.pth", b"", "no plain tensors or is damaged"),
        ("w.pth", pickle.dumps(Malicious(), protocol=2), "no plain tensors or is damaged"),
        ("w.pkl", pickle.dumps({}), r"must be a .safetensors, .pth or .pt file, got .*w\.pkl; a pickle can run code"),
    ],
)
def test_hostile_and_damaged_files(tmp_path, capsys, name, content, match):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_weights(path)
    assert capsys.readouterr().out == ""


def test_file_of_something_else(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "w.pt")
    with pytest.raises(ValueError, match="holds list, not a state dict"):
        read_weights(tmp_path / "w.pt")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights file at .*gone\.safetensors"):
        read_weights(tmp_path / "gone.safetensors")


def test_all_that_does_not_fit_is_named_and_nothing_is_loaded(module):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    wrong = {"0.weight": torch.ones(2, 4), "0.bias": torch.ones(2), "extra": torch.ones(1)}
    match = (
        r"4 missing: 1\.bias, 1\.running_mean, 1\.running_var, 1\.weight; 1 unknown: extra; "
        r"1 of another shape: 0\.weight \(2, 4\) instead of \(2, 3\)"
    )
    with pytest.raises(ValueError, match=match):
        load_weights(module, wrong)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_counters_may_be_missing(module):
    weights = {name: value + 1 for name, value in module.state_dict().items() if "num_batches" not in name}
    load_weights(module, weights)
    assert torch.equal(module[0].bias, weights["0.bias"])
    assert module[1].num_batches_tracked == 0
